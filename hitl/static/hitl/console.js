// The console keeps itself current: the socket says "read again", and the page fetches HTML that the server made.
const consoleRoot = document.querySelector(".aip-console");
const banner = document.getElementById("aip-banner");
const waiting = document.getElementById("aip-waiting"); // on the inbox alone
const RETRY_MS = [1500, 2000, 4000]; // the first leaves the banner long enough to be read
const POLL_MS = 3000, SETTLE_MS = 700, CALM = 5; // every fifth look when all is well: a hint may be lost without a sign
const BETWEEN_MS = 250, KEEP_MS = 20000; // between two looks; how long what was closed stays where it was
let failures = 0, polls = 0, moving = null, looking = null, isStale = false, isClicked = false;

async function fetchPart(url, options = {}) {
    const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" }, ...options });
    const isRefused = answer.redirected || answer.status === 403;
    // An expired session is led to the login page, a lost permission to a page that says so: show them, but keep what is typed.
    if (isRefused && !options.method) location.reload();
    if (isRefused || answer.status >= 500) throw new Error("this page cannot be read now");
    return { next: answer.headers.get("X-Next"), part: new DOMParser().parseFromString(await answer.text(), "text/html") };
}

const address = (data, path = "", query = data.query) => `${data.list}${path}?${query}`;
const pick = (id) => document.getElementById(id);

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

// A card whose request has not changed stays as it is, selected or not.
function place(card, isAnswer = false) {
    const old = waiting.querySelector(`#${card.id}`), state = ({ dataset }) => dataset.status + dataset.deadline;
    if (old && (isAnswer || state(old) !== state(card))) {
        const hadFocus = old.contains(document.activeElement);
        card.style.minHeight = `${old.offsetHeight}px`; // what lies below does not come up under a second click
        shift(() => old.replaceWith(card));
        if (hadFocus) card.focus();
    } else if (!old && card.dataset.status === "pending") {
        const later = (c) => c.dataset.status === "pending" && c.dataset.deadline > card.dataset.deadline;
        shift(() => waiting.insertBefore(card, [...waiting.children].find(later) ?? null));
    }
}

async function readInbox() {
    const data = pick("aip-list").dataset;
    const { part } = await fetchPart(address(data));
    const cards = [...part.querySelectorAll("#aip-waiting .aip-card")];
    const found = new Set(cards.map((card) => card.id));
    cards.forEach((card) => place(document.adoptNode(card)));
    const others = () => [...waiting.querySelectorAll('[data-status="pending"]')].filter((card) => !found.has(card.id));
    // What sooner ones pushed to the next page goes, if nobody is at it; what else still looks open was closed meanwhile.
    const last = part.querySelector('[rel="next"]') ? cards.at(-1).dataset.deadline : "never";
    const later = others().filter((card) => card.dataset.deadline > last && !card.matches(":hover, :focus-within, :has(:checked)"));
    if (later.length) shift(() => later.forEach((card) => card.remove()));
    const missed = others();
    await Promise.all(missed.slice(0, 20).map(async ({ dataset }) => {
        const card = (await fetchPart(address(data, `${dataset.id}/card/`, data.filters))).part.querySelector(".aip-card");
        if (card) place(document.adoptNode(card));
    }));
    tidy(part);
}

// What was closed a while ago goes below, where the server lists it; the counts are the server's.
function tidy(part) {
    const closed = [...waiting.children].filter((card) => card.dataset.status !== "pending");
    closed.forEach((card) => { card.closedAt ??= performance.now(); });
    const old = closed.filter((card) => performance.now() - card.closedAt > KEEP_MS && !card.matches(":hover, :focus-within"));
    if (old.length) shift(() => old.forEach((card) => card.remove()));
    const recent = part.getElementById("aip-recent");
    recent.querySelectorAll(".aip-card").forEach((card) => { if (waiting.querySelector(`#${card.id}`)) card.remove(); });
    recent.hidden = !recent.querySelector(".aip-card");
    const ids = (list) => [...list.querySelectorAll(".aip-card")].map((card) => card.id + card.dataset.status).join();
    if (ids(recent) !== ids(pick("aip-recent"))) pick("aip-recent").replaceWith(document.adoptNode(recent));
    for (const id of ["aip-total", "aip-pages"]) pick(id).replaceWith(document.adoptNode(part.getElementById(id)));
    settle();
}

function settle() {
    const total = pick("aip-total").textContent;
    pick("aip-empty").hidden = waiting.children.length > 0;
    document.title = (total === "0" ? "" : `(${total}) `) + document.title.replace(/^\([^)]*\) /, "");
    document.dispatchEvent(new Event("change")); // what is selected may have gone
    tick();
}

// What is typed stays while the request waits; when it is closed, its buttons go.
async function readRequest() {
    const old = pick("aip-list");
    if (!old.querySelector(".aip-request")) return;
    const fresh = (await fetchPart(address(old.dataset))).part.getElementById("aip-list");
    const state = (list) => list.querySelector(".aip-request").dataset.state;
    if (state(old) !== state(fresh)) {
        show(fresh);
        say(pick("aip-list").querySelector(".aip-closing")?.textContent);
    } else if (pick("aip-clockwork")) {
        pick("aip-clockwork").replaceWith(document.adoptNode(fresh.querySelector("#aip-clockwork")));
        tick();
    }
}

function show(list) {
    pick("aip-list").replaceWith(document.adoptNode(list));
    fold();
    tick();
    pick("aip-list").querySelector(".aip-problem, [autofocus]")?.focus();
}

// One look at a time; what was heard meanwhile is one more look.
function look() {
    isStale = looking !== null;
    const rest = () => setTimeout(() => { looking = null; if (isStale) look(); }, BETWEEN_MS);
    looking ??= (waiting ? readInbox() : readRequest()).catch(() => {}).then(rest);
}

function connect() {
    const socket = new WebSocket(new URL(consoleRoot.dataset.socket, location.href.replace(/^http/, "ws")));
    socket.onmessage = (message) => { if (waiting || document.querySelector(`[data-id="${JSON.parse(message.data).id}"]`)) look(); };
    // Subscribed first: nothing that opened in between is missed.
    socket.onopen = () => { [failures, banner.hidden] = [0, true]; look(); };
    socket.onclose = () => { banner.hidden = false; setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]); };
}

// A decision is sent from where it is made; then the next request is shown, or the new state of this one.
document.addEventListener("submit", async (event) => {
    const form = event.target.closest(".aip-decide");
    if (!form) return;
    event.preventDefault();
    const place = form.closest(waiting ? ".aip-card" : "#aip-list"), buttons = [...place.querySelectorAll("button:enabled")];
    if (place.dataset.sent) return;
    const body = new FormData(form, event.submitter);
    const still = (sent) => { place.dataset.sent = sent; buttons.forEach((button) => { button.disabled = sent !== ""; }); };
    still("yes");
    try {
        const { next, part } = await fetchPart(form.action, { method: "POST", body });
        const card = part.querySelector(".aip-card");
        if (next) location.assign(next);
        else if (waiting && card) decided(place, document.adoptNode(card));
        else if (part.getElementById("aip-list")) show(part.getElementById("aip-list"));
        else location.reload();
    } catch {
        still("");
        const said = form.querySelector(".aip-problem") ?? form.appendChild(Object.assign(document.createElement("p"), { className: "aip-problem" }));
        said.textContent = "Not decided: the server is away, or you are logged out or have logged in anew. Reload the page and look before you try again.";
    }
});

// After a key the next one has the focus, and for a moment is deaf; after a click nothing moves under the pointer.
document.addEventListener("click", ({ detail }) => { isClicked = detail > 0; }, true);
function decided(old, card) {
    const following = [...waiting.querySelectorAll('[data-status="pending"]')].find((c) => old.compareDocumentPosition(c) & Node.DOCUMENT_POSITION_FOLLOWING);
    const isHere = [null, old].includes(currentCard());
    place(card, true);
    openedAt = performance.now();
    if (isHere) (isClicked || card.querySelector(".aip-problem") ? card : following ?? card).focus({ preventScroll: isClicked });
    say(card.querySelector(".aip-problem, .aip-closing")?.textContent);
    look();
}

connect();
if (waiting) settle();
else if (document.activeElement === document.body) document.querySelector("[autofocus]")?.focus(); // a busy browser may leave it out
setInterval(() => { if (!banner.hidden || ++polls % CALM === 0) look(); }, POLL_MS);
