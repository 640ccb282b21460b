-- Read fields and delete them, so that each value is handed out once. KEYS: session.
-- ARGV: skew, latest, field, … Returns {OK, value or false, …}.
local now = now_ms()
if is_late(now) then return {LATE} end
local session = KEYS[1]
local this = live(now, session)
if not this then return {GONE} end
local before, size = this.size, this.size
local taken = {OK}
for i = 3, #ARGV do
  local value = redis.call('HGET', session, ARGV[i])
  taken[#taken + 1] = value
  if value then
    size = size + growth(session, ARGV[i])
    redis.call('HDEL', session, ARGV[i])
  end
end
if size ~= before then redis.call('HSET', session, 'z', whole(size)) end
return taken
