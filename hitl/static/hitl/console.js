// The console keeps itself current: the socket says "read again", and the page fetches HTML that the server made.
"use strict";

const consoleRoot = document.querySelector(".aip-console");
const banner = document.getElementById("aip-banner");
const waiting = document.getElementById("aip-waiting"); // on the inbox alone
const pageUrl = document.getElementById("aip-list").dataset.list;
const RETRY_MS = [1500, 2000, 4000]; // the first leaves the banner long enough to be read
const POLL_MS = 3000;
const LOOK_MS = 15000; // a hint may be lost without a sign
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
let failures = 0;
let beyond = 0; // how many more wait than this page shows
let polling = null;

async function read(url, options = {}) {
    const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" }, ...options });
    // An expired session is led to the login page, a lost permission to a page that says so: show them.
    if (answer.redirected || answer.status === 403) {
        location.reload();
        throw new Error("this page may not be read any more");
    }
    return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function isBusy(element) {
    const note = element.querySelector("textarea");
    return Boolean(note) && (note.value !== "" || note === document.activeElement);
}

// A card whose request has not changed stays as it is, with what was typed into it.
function place(card) {
    const old = document.getElementById(card.id);
    if (old) {
        if (old.dataset.status !== card.dataset.status) old.replaceWith(card);
    } else if (card.dataset.status === "pending") {
        const later = (c) => c.dataset.status === "pending" && c.dataset.deadline > card.dataset.deadline;
        waiting.insertBefore(card, [...waiting.children].find(later) ?? null);
    }
}

function settle(total) {
    if (waiting) {
        const shown = waiting.querySelectorAll('[data-status="pending"]').length;
        if (total !== undefined) beyond = Math.max(0, total - shown);
        const all = shown + beyond;
        document.getElementById("aip-total").textContent = all;
        document.getElementById("aip-empty").hidden = waiting.children.length > 0;
        document.title = (all ? `(${all}) ` : "") + document.title.replace(/^\(\d+\) /, "");
        if (beyond && shown < 50 && total === undefined) readAll();
    }
    tick();
}

async function readCard(id) {
    const card = (await read(`${pageUrl}${id}/card/`)).querySelector(".aip-card");
    if (card) place(document.adoptNode(card));
}

async function readInbox() {
    const page = await read(pageUrl);
    const cards = [...page.querySelectorAll(".aip-card")];
    const found = new Set(cards.map((card) => card.id));
    cards.forEach((card) => place(document.adoptNode(card)));
    // What still looks open here and is not on the new page was closed long ago, or comes later in the line.
    const missed = [...waiting.querySelectorAll('[data-status="pending"]')].filter((card) => !found.has(card.id));
    await Promise.all(missed.map((card) => readCard(card.dataset.id)));
    settle(Number(page.getElementById("aip-total").textContent));
}

async function readDetail() {
    const fresh = (await read(pageUrl)).getElementById("aip-list");
    const old = document.getElementById("aip-list");
    const status = (list) => list.querySelector(".aip-detail").dataset.status;
    if (status(old) !== status(fresh) || !isBusy(old)) old.replaceWith(document.adoptNode(fresh));
    settle();
}

const readAll = () => (waiting ? readInbox() : readDetail()).catch(() => {});

function hear(message) {
    const { id } = JSON.parse(message.data);
    if (waiting) readCard(id).then(() => settle(), () => {});
    else if (document.getElementById(`card-${id}`)) readAll();
}

function connect() {
    const socket = new WebSocket(new URL(consoleRoot.dataset.socket, location.href.replace(/^http/, "ws")));
    socket.onmessage = hear;
    socket.onopen = () => {
        failures = 0;
        banner.hidden = true;
        clearInterval(polling);
        polling = null;
        readAll(); // subscribed first: nothing that opened in between is missed
    };
    socket.onclose = () => {
        banner.hidden = false;
        polling ??= setInterval(readAll, POLL_MS);
        setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
    };
}

// Two units at most, as the server writes them.
function words(seconds) {
    const parts = [];
    for (const [size, unit] of UNITS) {
        if (seconds >= size) parts.push(`${Math.floor(seconds / size)} ${unit}`);
        else if (parts.length) break;
        seconds %= size;
        if (parts.length === 2) break;
    }
    return parts.join(" ") || "0 s";
}

function tick() {
    for (const left of document.querySelectorAll(".aip-left")) {
        left.end ??= performance.now() + 1000 * Number(left.dataset.secondsLeft);
        const seconds = Math.max(0, (left.end - performance.now()) / 1000);
        left.querySelector(".aip-clock").textContent = words(Math.ceil(seconds));
        left.classList.toggle("aip-soon", seconds < 30);
    }
}

// On the inbox a decision is sent in place, so that what was typed on other cards stays.
document.addEventListener("submit", async (event) => {
    const form = event.target.closest(".aip-decide");
    if (!form || !waiting) return;
    event.preventDefault();
    const buttons = form.querySelectorAll("button");
    const body = new FormData(form, event.submitter);
    buttons.forEach((button) => { button.disabled = true; });
    try {
        const card = (await read(form.action, { method: "POST", body, headers: { "X-Requested-With": "fetch" } })).querySelector(".aip-card");
        if (!card) location.assign(form.action.replace(/decide\/$/, ""));
        else form.closest(".aip-card").replaceWith(document.adoptNode(card));
        settle();
    } catch {
        buttons.forEach((button) => { button.disabled = false; });
        banner.hidden = false;
    }
});

connect();
settle(Number(document.getElementById("aip-total")?.textContent));
setInterval(tick, 1000);
setInterval(readAll, LOOK_MS);
