// What pages do besides: times in the reader's own zone, passwords to look at, one form for two clicks, and a word before
// the session ends.
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

// A form is sent once, however often its button is clicked: the second would come with a cookie that the first replaces.
for (const form of document.forms) {
  let sentAt = -Infinity;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sentAt < 3000) event.preventDefault();
    else sentAt = event.timeStamp;
  });
}

const UNRENEWED = { "X-Session-Renew": "no" };
const told = document.body.dataset;
if (told.back) goOn(told.back);
if (told.expiresIn) watch(Number(told.user), Number(told.expiresIn), Number(told.warnBefore));

// A strict cookie does not come with a link from another site; it comes with what our own page asks. Who is signed in
// after all goes on.
async function goOn(back) {
  const check = await checkSession(UNRENEWED);
  if (check && check.authenticated) location.replace(back);
}

// What the API says of the session; null where it says nothing.
async function checkSession(headers) {
  try {
    const answer = await fetch("/api/auth/check", { headers, cache: "no-store", credentials: "same-origin" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

// Asks now and then how long the session lives, in a way that does not prolong it: another page may have done so, or
// another device may have ended it. Warns `warnBefore` seconds before its end.
function watch(user, expiresIn, warnBefore) {
  const ASK_EVERY = 60, ASK_OFTEN = 15, ASK_SOON = 2, LAST_CALL = 30;
  const bar = document.getElementById("expiry"), text = document.getElementById("expiry-text");
  const stay = document.getElementById("stay"), announcer = document.getElementById("announcer");
  const degraded = document.getElementById("degraded");
  let endsAt = now() + expiresIn, askAt = now() + Math.min(ASK_EVERY, Math.max(0, expiresIn - warnBefore));
  let announced = Infinity, inVain = "", asked = Promise.resolve(true);

  stay.addEventListener("click", async () => {
    // A renewal comes with the answer's cookie: only the next answer counts it.
    const isReached = await ask({}) && await ask(UNRENEWED);
    if (!isReached) inVain = "The service cannot be reached; try again.";
    else if (left() > warnBefore) announce("You stay signed in.");
    else if (degraded.hidden) inVain = "It has reached its longest time; sign in again afterwards.";
    else inVain = "It cannot be prolonged at the moment; try again.";
    announced = Infinity;
    tick();
    stay.hidden = isReached && degraded.hidden && inVain !== "";
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
  setInterval(tick, 1000);

  function tick() {
    const seconds = left();
    if (now() >= askAt) ask(UNRENEWED);
    bar.hidden = seconds > warnBefore;
    if (bar.hidden) {
      announced = Infinity;
      inVain = "";
      stay.hidden = false;
      return;
    }
    text.textContent = `Your session ends in ${inWords(seconds)}. ${inVain || "Stay signed in?"}`;
    const step = seconds <= LAST_CALL ? LAST_CALL : warnBefore;
    if (step < announced) {
      announced = step;
      announce(text.textContent);
    }
  }

  // One after the other: whether there was an answer.
  function ask(headers) {
    askAt = now() + (left() > warnBefore ? Math.min(ASK_EVERY, left() - warnBefore) : Math.max(ASK_SOON, Math.min(ASK_OFTEN, left())));
    asked = asked.then(() => askNow(headers), () => askNow(headers));
    return asked;
  }

  async function askNow(headers) {
    const check = await checkSession(headers);
    if (!check) return false;
    if (!check.authenticated) leave(check.ended);
    else if (check.user_id !== user) location.reload();
    degraded.hidden = !check.degraded;
    endsAt = now() + check.expires_in;
    return true;
  }

  // The sign-in page says why; where the cookie has gone with the session it cannot know.
  function leave(reason) {
    location.replace(reason ? "/login" : "/login?signed-out=expired");
  }

  function announce(words) { announcer.textContent = words; }
  function left() { return Math.max(0, Math.round(endsAt - now())); }
  function now() { return Date.now() / 1000; }
  function inWords(seconds) {
    const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    const minutes = Math.floor(seconds / 60), rest = seconds % 60;
    if (!minutes) return count(rest, "second");
    return rest ? `${count(minutes, "minute")} ${count(rest, "second")}` : count(minutes, "minute");
  }
}
