-- First half of a rotation: copy a session under a new handle, unclaimed: pending, short-lived and in no index.
-- KEYS: old session, new session. ARGV: skew, latest, life of the copy, generation, signed in anew (1 or 0).
-- Returns {OK, now, auth time} or {GONE}.
local now = now_ms()
if is_late(now) then return {LATE} end
local old, new = KEYS[1], KEYS[2]
if not live(now, old) then return {GONE} end
local fields = redis.call('HGETALL', old)
for i = 1, #fields, 2 do redis.call('HSET', new, fields[i], fields[i + 1]) end
redis.call('HSET', new, 'g', ARGV[4], 'p', 1)
if ARGV[5] == '1' then redis.call('HSET', new, 'a', whole(now)) end
redis.call('PEXPIRE', new, ARGV[3])
return {OK, whole(now), whole(number(redis.call('HGET', new, 'a')) or 0)}
