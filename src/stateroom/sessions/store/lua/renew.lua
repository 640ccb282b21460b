-- Slide the idle lifetime, unless another request just did. KEYS: session, expiry index, user index.
-- ARGV: skew, latest, handle, user, interval. Returns {OK, renewed at, expires}.
local now = now_ms()
if is_late(now) then return {LATE} end
local this = live(now, KEYS[1])
if not this then return {GONE} end
if now - this.renewed < tonumber(ARGV[5]) then return {OK, whole(this.renewed), whole(this.expires)} end
return {OK, whole(now), whole(renew(now, KEYS[1], this, KEYS[2], KEYS[3], ARGV[3], ARGV[4]))}
