// What pages do besides: times in the reader's own zone, passwords to look at, and a word before the session ends.
// All of it can be done without: pages work with scripts off.

for (const each of document.querySelectorAll("time[data-moment]")) {
  const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
  each.textContent = format.format(new Date(each.dateTime));
}

for (const button of document.querySelectorAll("button.reveal")) {
  const input = document.getElementById(button.getAttribute("aria-controls"));
  button.hidden = false;
  button.addEventListener("click", () => {
    const shows = input.type === "password";
    input.type = shows ? "text" : "password";
    button.setAttribute("aria-pressed", String(shows));
  });
  input.form.addEventListener("submit", () => { input.type = "password"; });
}

const told = document.body.dataset;
if (told.expiresIn) watch(Number(told.user), Number(told.expiresIn), Number(told.warnBefore));

// Asks now and then how long the session lives, in a way that does not prolong it: another page may have done so, or
// another device may have ended it. Warns `warnBefore` seconds before its end.
function watch(user, expiresIn, warnBefore) {
  const ASK_EVERY = 60, ASK_OFTEN = 15, ASK_SOON = 2, LAST_CALL = 30;
  const bar = document.getElementById("expiry"), text = document.getElementById("expiry-text");
  const stay = document.getElementById("stay"), announcer = document.getElementById("announcer");
  const degraded = document.getElementById("degraded");
  let endsAt = now() + expiresIn, askAt = now() + Math.min(ASK_EVERY, Math.max(0, expiresIn - warnBefore));
  let announced = Infinity, isAsking = false, isAtItsLongest = false;

  stay.addEventListener("click", async () => {
    const before = endsAt;
    if (!await ask({})) return say("The service cannot be reached. Try again.");
    isAtItsLongest = left() <= warnBefore && endsAt - before < 2;
    if (!isAtItsLongest) announce("You stay signed in.");
    announced = Infinity;
    tick();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
  setInterval(tick, 1000);

  function tick() {
    const seconds = left();
    if (now() >= askAt) ask({ "X-Session-Renew": "no" });
    bar.hidden = seconds > warnBefore;
    if (bar.hidden) { announced = Infinity; return; }
    const whatToDo = isAtItsLongest ? "It has reached its longest time; sign in again afterwards." : "Stay signed in?";
    text.textContent = `Your session ends in ${inWords(seconds)}. ${whatToDo}`;
    stay.hidden = isAtItsLongest;
    const step = seconds <= LAST_CALL ? LAST_CALL : warnBefore;
    if (step < announced) { announced = step; announce(text.textContent); }
  }

  async function ask(headers) {
    if (isAsking) return false;
    isAsking = true;
    askAt = now() + (left() > warnBefore ? Math.min(ASK_EVERY, left() - warnBefore) : Math.max(ASK_SOON, Math.min(ASK_OFTEN, left())));
    try {
      const answer = await fetch("/api/auth/check", { headers, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) return false;
      const check = await answer.json();
      if (!check.authenticated) { leave(check.ended); return false; }
      if (check.user_id !== user) { location.reload(); return false; }
      degraded.hidden = !check.degraded;
      endsAt = now() + check.expires_in;
      return true;
    } catch {
      return false;
    } finally {
      isAsking = false;
    }
  }

  // The sign-in page says why; where the cookie has gone with the session it cannot know.
  function leave(reason) {
    location.replace(reason ? "/login" : "/login?signed-out=expired");
  }

  function say(words) { text.textContent = words; announce(words); }
  function announce(words) { announcer.textContent = words; }
  function left() { return Math.max(0, Math.round(endsAt - now())); }
  function now() { return Date.now() / 1000; }
  function inWords(seconds) {
    const minutes = Math.floor(seconds / 60), rest = seconds % 60;
    const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    return minutes ? `${count(minutes, "minute")}${rest ? ` ${count(rest, "second")}` : ""}` : count(rest, "second");
  }
}
