// Additions to the pages: times in the reader's time zone, a button that shows a password, protection against double clicks,
// the fragment of the page to return to, and a warning before the session ends. The pages work without this script.

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

// A form is sent once although its button is clicked twice: the first request replaces the cookie that the second would send.
for (const form of document.forms) {
  let sentAt = -Infinity;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sentAt < 3000) event.preventDefault();
    else sentAt = event.timeStamp;
  });
}

// The address of our pages: of the page itself, or under the prefix by which it was opened.
const ROOT = new URL("..", import.meta.url).pathname;
const UNRENEWED = { "X-Session-Renew": "no" };
const data = document.body.dataset;
const FRAGMENT = location.hash.length > 1 ? location.hash : "";
keepFragment();
if (data.back) leaveIfSignedIn(withFragment(data.back));
if (data.expiresIn) watch(Number(data.user), Number(data.expiresIn), Number(data.warnBefore));

// A redirect to one of our pages keeps the fragment (#…) of the page that the user wanted, and only the browser knows it. So it
// becomes a part of the address to which the page leads. After a click on a link within the page, it would be another one.
function keepFragment() {
  for (const input of document.querySelectorAll("input[type=hidden][name=rd]")) input.value = withFragment(input.value);
  for (const link of document.querySelectorAll("a[href*='?']")) {
    const url = new URL(link.href), rd = url.searchParams.get("rd");
    if (!rd || url.origin !== location.origin) continue;
    url.searchParams.set("rd", withFragment(rd));
    link.href = url.href;
  }
}

function withFragment(address) {
  return address.includes("#") ? address : address + FRAGMENT;
}

// A browser does not send a strict cookie when the user follows a link from another site, but it sends it with requests of
// our own page. So the sign-in page sends a request, and opens the other page if the user is signed in.
async function leaveIfSignedIn(back) {
  const check = await checkSession(UNRENEWED);
  if (check && check.authenticated) location.replace(back);
}

// The API's facts about the session; null if there is no response.
async function checkSession(headers) {
  try {
    const answer = await fetch(`${ROOT}api/auth/check`, { headers, cache: "no-store", credentials: "same-origin" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

// Asks from time to time how long the session lives, without extending it. Another page may have extended it, or another
// device may have ended it. Warns `warnBefore` seconds before its end.
function watch(user, expiresIn, warnBefore) {
  const ASK_EVERY = 60, ASK_OFTEN = 15, ASK_SOON = 2, LAST_CALL = 30;
  const bar = document.getElementById("expiry"), text = document.getElementById("expiry-text");
  const stay = document.getElementById("stay"), announcer = document.getElementById("announcer");
  const degraded = document.getElementById("degraded");
  let endsAt = now() + expiresIn, askAt = now() + Math.min(ASK_EVERY, Math.max(0, expiresIn - warnBefore));
  let announced = Infinity, failure = "", asked = Promise.resolve(true);

  stay.addEventListener("click", async () => {
    // The first response renews the cookie and still has the old time. The second response has the new time.
    const isReached = await ask({}) && await ask(UNRENEWED);
    if (!isReached) failure = "There is no connection. Please try again.";
    else if (left() > warnBefore) announce("You're still signed in.");
    else if (degraded.hidden) failure = "You can't stay signed in any longer. Save your work, then sign in again.";
    else failure = "We can't keep you signed in right now. Please try again.";
    announced = Infinity;
    tick();
    stay.hidden = isReached && degraded.hidden && failure !== "";
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
  setInterval(tick, 1000);

  function tick() {
    const seconds = left();
    if (now() >= askAt) ask(UNRENEWED);
    bar.hidden = seconds > warnBefore;
    if (bar.hidden) {
      announced = Infinity;
      failure = "";
      stay.hidden = false;
      return;
    }
    text.textContent = `You'll be signed out in ${inWords(seconds)}. ${failure || "Stay signed in?"}`;
    const step = seconds <= LAST_CALL ? LAST_CALL : warnBefore;
    if (step < announced) {
      announced = step;
      announce(text.textContent);
    }
  }

  // Sends one request after the other. Resolves to whether there was a response.
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

  // The sign-in page says why the session has ended. If the cookie has expired too, the page needs the reason in its address.
  function leave(reason) {
    location.replace(`${ROOT}login${reason ? "" : "?signed-out=expired"}`);
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
