// What a key does stands at the element that it presses: `data-key`.
const OFF = "aip-keys-off", READY_MS = 400; // a key that was meant for what was there before must not decide on this
const help = document.getElementById("aip-help"), keysOn = document.getElementById("aip-keys-on"), bulk = document.getElementById("aip-bulk");
let openedAt = performance.now();

const isTyping = (target) => target.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
const currentCard = () => document.activeElement.closest("#aip-waiting .aip-card");
const selected = () => [...document.querySelectorAll(".aip-pick:checked")];

function move(step) {
    const cards = [...document.querySelectorAll('#aip-waiting .aip-card[data-status="pending"]')];
    const at = cards.indexOf(currentCard()), to = cards[Math.max(0, Math.min(cards.length - 1, at < 0 ? 0 : at + step))];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
}

function leave(act, target) {
    if (act) ["click", "focus"].forEach((does) => act.querySelector("summary")[does]());
    else if (isTyping(target)) target.blur();
    else if (selected().length) bulk.reset();
    else document.querySelector('[data-key="Escape"]')?.click();
}

// Where a key looks for what it presses: in what is open around the focus, else in what is selected, else at hand.
// While arguments are edited that is the form: a letter that missed its field must decide nothing.
function scope(act) {
    if (act) return act.querySelector(".aip-act-body");
    if (selected().length) return bulk;
    return document.getElementById("aip-waiting") ? currentCard() : document.getElementById("aip-edit") ?? document;
}

document.addEventListener("keydown", (event) => {
    const { key, target } = event, act = target.closest(".aip-act[open]");
    if (document.querySelector("dialog[open]") || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
        const form = key === "Enter" && isTyping(target) && target.closest(".aip-act-body form, .aip-edit");
        if (form) form.requestSubmit(form.querySelector("button:not([type=button])"));
        return;
    }
    if (key === "Escape") leave(act, target);
    if (key.length > 1 && key !== "Enter" || isTyping(target) || !keysOn.checked) return;
    if (key === "Enter") return target.matches("#aip-waiting .aip-card") && target.querySelector(".aip-open").click();
    const pressed = key.toLowerCase(), waits = document.getElementById("aip-waiting");
    if (key === "?") help.showModal();
    else if (key === "/") document.getElementById("aip-search")?.focus();
    else if (waits && !act && "jk".includes(pressed)) move(pressed === "j" ? 1 : -1);
    else {
        const place = pressed === "x" && !act ? currentCard() : scope(act);
        const found = place?.querySelector(`[data-key="${CSS.escape(pressed)}"]`);
        if (!found || event.repeat || performance.now() - openedAt < READY_MS) return;
        if (found.disabled) say(found.closest("[data-sent=yes]") ? "It is being decided." : "Approving is off until all of it has been shown.");
        else found.click();
        if (found.matches("summary")) enter(found.parentElement);
    }
    event.preventDefault();
});

// What opens takes the focus, so that the next key is for it.
const enter = (act) => { if (act?.open) act.querySelector(".aip-act-body :is(input:not([type=hidden]), textarea, button)").focus(); };
document.addEventListener("toggle", ({ target }) => { if (target.matches(".aip-act")) enter(target); }, true);

if (bulk) document.addEventListener("change", () => {
    document.getElementById("aip-picked").textContent = selected().length;
    bulk.classList.toggle("aip-some", selected().length > 0);
});
bulk?.addEventListener("reset", () => setTimeout(() => document.dispatchEvent(new Event("change"))));

document.addEventListener("click", (event) => { if (event.target.closest("#aip-show-keys")) help.showModal(); });
keysOn.checked = localStorage.getItem(OFF) === null;
keysOn.addEventListener("change", () => (keysOn.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "yes")));
document.dispatchEvent(new Event("change"));
