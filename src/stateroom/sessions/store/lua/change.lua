-- Set one field if it still has the value that the caller saw. KEYS: session.
-- ARGV: skew, latest, most bytes, field, value seen ('' for none), new value ('' to delete).
-- Returns {OK, size}, {CONFLICT, value now} or {TOO_LARGE, size}.
local now = now_ms()
if is_late(now) then return {LATE} end
local session, field, value = KEYS[1], ARGV[4], ARGV[6]
local this = live(now, session)
if not this then return {GONE} end
local before = this.size
local current = redis.call('HGET', session, field) or ''
if current ~= ARGV[5] then return {CONFLICT, current} end
local size = before + growth(session, field, value)
if size > tonumber(ARGV[3]) and size > before then return {TOO_LARGE, size} end
if value == '' then
  redis.call('HDEL', session, field)
else
  redis.call('HSET', session, field, value)
end
redis.call('HSET', session, 'z', whole(size))
return {OK, size}
