// The console keeps itself current: the socket says "read again", and the page fetches HTML that the server made.
"use strict";

const consoleRoot = document.querySelector(".aip-console");
const banner = document.getElementById("aip-banner");
const waiting = document.getElementById("aip-waiting"); // on the inbox alone
const pageUrl = document.getElementById("aip-list").dataset.list;
const RETRY_MS = [1500, 2000, 4000]; // the first leaves the banner long enough to be read
const POLL_MS = 3000, LOOK_MS = 15000, SETTLE_MS = 700; // a look now and then: a hint may be lost without a sign
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
let failures = 0, polling = null, moving = null;
let beyond = 0; // how many more wait than this page shows

async function read(url, options = {}) {
    const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" }, ...options });
    const isRefused = answer.redirected || answer.status === 403;
    // An expired session is led to the login page, a lost permission to a page that says so: show them.
    if (isRefused && !options.method) location.reload();
    if (isRefused || answer.status >= 500) throw new Error("this page cannot be read now");
    return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Change the list under the reader's hand: what is pointed at stays where it is, and for a moment the buttons of
// all other cards are dead, so that a click that was aimed before cannot hit what came in between.
function shift(change) {
    const aimed = document.querySelector(".aip-card:hover") ?? document.querySelector(".aip-card:focus-within");
    const top = aimed?.getBoundingClientRect().top;
    document.querySelector(".aip-aimed")?.classList.remove("aip-aimed");
    aimed?.classList.add("aip-aimed");
    waiting.classList.add("aip-moving");
    change();
    if (aimed?.isConnected) scrollBy(0, aimed.getBoundingClientRect().top - top);
    clearTimeout(moving);
    moving = setTimeout(() => waiting.classList.remove("aip-moving"), SETTLE_MS);
}

// A card whose request has not changed stays as it is, with what was typed into it.
function place(card) {
    const old = document.getElementById(card.id);
    if (old) {
        if (old.dataset.status !== card.dataset.status) shift(() => old.replaceWith(card));
    } else if (card.dataset.status === "pending") {
        const later = (c) => c.dataset.status === "pending" && c.dataset.deadline > card.dataset.deadline;
        shift(() => waiting.insertBefore(card, [...waiting.children].find(later) ?? null));
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
    const state = (list) => list.querySelector(".aip-detail").dataset.state;
    if (state(old) !== state(fresh)) old.replaceWith(document.adoptNode(fresh));
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
        polling = clearInterval(polling);
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
    const first = Math.max(0, UNITS.findIndex(([size]) => seconds >= size));
    const parts = UNITS.slice(first, first + 2).map(([size, unit], i) => [Math.floor((i ? seconds % UNITS[first][0] : seconds) / size), unit]);
    return seconds < 1 ? "0 s" : parts.filter(([n], i) => n || !i).map((part) => part.join(" ")).join(" ");
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
        const card = (await read(form.action, { method: "POST", body })).querySelector(".aip-card");
        if (!card) location.assign(form.action.replace(/decide\/$/, ""));
        else form.closest(".aip-card").replaceWith(document.adoptNode(card));
        settle();
    } catch {
        buttons.forEach((button) => { button.disabled = false; });
        const said = form.querySelector(".aip-problem") ?? form.appendChild(document.createElement("p"));
        said.className = "aip-problem";
        said.textContent = "Not decided: the server is away, or you are logged out. Reload the page and look before you try again.";
    }
});

connect();
settle(Number(document.getElementById("aip-total")?.textContent));
setInterval(tick, 1000);
setInterval(readAll, LOOK_MS);
