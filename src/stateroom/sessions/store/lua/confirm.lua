-- A pending session (restored, or the copy of a rotation) is a good one: only if it is still there.
-- KEYS: session, expiry index, user index. ARGV: skew, latest, handle, user. Returns {OK} or {GONE}.
local now = now_ms()
if is_late(now) then return {LATE} end
local created, renewed, idle, deadline = unpack(redis.call('HMGET', KEYS[1], 'c', 'r', 'i', 'd'))
if not created or has_expired(now, KEYS[1]) then return {GONE} end
if redis.call('HDEL', KEYS[1], 'p') == 1 then
  local expires = math.min(tonumber(renewed) + tonumber(idle), tonumber(deadline))
  keep_until(now, KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4], created, expires)
end
return {OK}
