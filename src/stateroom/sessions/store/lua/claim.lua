-- Second half of a rotation, after the old session's end is in the journal: the copy becomes the session, and the old one
-- is deleted. The copy gets what was written to the old one meanwhile.
-- KEYS: new session, old session, expiry index, user index. ARGV: skew, latest, new handle, old handle, user.
-- Returns {OK, now, expires} or {GONE}.
local now = now_ms()
if is_late(now) then return {LATE} end
local new, old, expiries, sessions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local this = read(new)
if not this then return {GONE} end
local generation, signed_in = unpack(redis.call('HMGET', new, 'g', 'a'))
local before = read(old)
local fields = before and redis.call('HGETALL', old)
redis.call('DEL', new)
if not before then return {GONE} end -- it ended meanwhile, or was lost: the journal knows
for i = 1, #fields, 2 do redis.call('HSET', new, fields[i], fields[i + 1]) end
redis.call('HSET', new, 'g', generation, 'a', signed_in)
redis.call('HDEL', new, 'p')
redis.call('DEL', old)
on_index('ZREM', expiries, expiry_member(ARGV[4], whole(before.created), ARGV[5]))
on_index('ZREM', sessions, ARGV[4])
return {OK, whole(now), whole(renew(now, new, before, expiries, sessions, ARGV[3], ARGV[5]))}
