// Reading one request: clocks, long texts that are folded until they are shown, and what an edit changes.
const FOLDED_PX = 480;
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

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

// Approving is off while some of the arguments is folded. Without this script all of it stands there.
function fold() {
    for (const value of document.querySelectorAll(".aip-value:not([data-seen])")) {
        value.dataset.seen = "";
        if (value.scrollHeight < FOLDED_PX * 1.25) continue;
        value.classList.add("aip-folded");
        const button = Object.assign(document.createElement("button"), { type: "button", className: "aip-button aip-quiet aip-unfold" });
        button.textContent = `Show all (${value.textContent.length.toLocaleString("en")} characters)`;
        button.onclick = () => { value.classList.remove("aip-folded"); button.remove(); value.querySelector("pre").focus(); checkRead(); };
        value.after(button);
    }
    checkRead();
}

function checkRead() {
    const isUnread = document.querySelector(".aip-what .aip-folded") !== null;
    document.querySelectorAll("button[data-needs-all]").forEach((button) => { button.disabled = isUnread; });
    document.getElementById("aip-unread")?.toggleAttribute("hidden", !isUnread);
}

const say = (text = "") => { document.getElementById("aip-said").textContent = text; };

// The difference to what was asked, from the first to the last word that differs.
function compare(field) {
    const shown = field.closest(".aip-field").querySelector(".aip-difference");
    const [was, is] = [field.dataset.asked, field.value].map((text) => text.split(/(\s+)/));
    let start = 0, end = 0;
    while (start < Math.min(was.length, is.length) && was[start] === is[start]) start++;
    while (end < Math.min(was.length, is.length) - start && was.at(-1 - end) === is.at(-1 - end)) end++;
    const part = (tag, parts) => Object.assign(document.createElement(tag), { textContent: parts.join("") });
    const before = part("span", was.slice(Math.max(0, start - 12), start)), after = part("span", was.slice(was.length - end).slice(0, 12));
    shown.replaceChildren(before, part("del", was.slice(start, was.length - end)), part("ins", is.slice(start, is.length - end)), after);
    shown.hidden = field.dataset.asked === field.value;
}

document.addEventListener("input", (event) => { if (event.target.dataset.asked !== undefined) compare(event.target); });
fold();
tick();
document.querySelectorAll("[data-asked]").forEach(compare);
setInterval(tick, 1000);
