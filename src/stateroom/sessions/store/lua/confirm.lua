-- Clear the pending field of a session (restored, or the copy of a rotation), if it is still there.
-- KEYS: session, expiry index, user index. ARGV: skew, latest, handle, user. Returns {OK} or {GONE}.
local now = now_ms()
if is_late(now) then return {LATE} end
local this = live(now, KEYS[1])
if not this then return {GONE} end
if redis.call('HDEL', KEYS[1], 'p') == 1 then
  keep_until(now, KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[4], whole(this.created), this.expires)
end
return {OK}
