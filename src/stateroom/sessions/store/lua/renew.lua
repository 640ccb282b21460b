-- Slide the idle lifetime, unless another request just did. KEYS: session, expiry index, user index.
-- ARGV: skew, latest, handle, user, interval. Returns {OK, renewed at, expires}.
local now = now_ms()
if is_late(now) then return {LATE} end
local renewed, idle, deadline = unpack(redis.call('HMGET', KEYS[1], 'r', 'i', 'd'))
if not renewed or has_expired(now, KEYS[1]) then return {GONE} end
if now - tonumber(renewed) < tonumber(ARGV[5]) then
  return {OK, renewed, whole(math.min(tonumber(renewed) + tonumber(idle), tonumber(deadline)))}
end
return {OK, whole(now), whole(renew(now, KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4]))}
