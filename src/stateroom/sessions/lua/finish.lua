#!lua flags=allow-oom
-- End a session. It only deletes, so that a full server takes it. KEYS: session, expiry index, user index.
-- ARGV: skew, 0, handle, user. Returns {OK, created, now} or {GONE}.
local created = redis.call('HGET', KEYS[1], 'c')
redis.call('DEL', KEYS[1])
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[3], ARGV[3]) end
if not created then return {GONE} end
redis.call('ZREM', KEYS[2], expiry_member(ARGV[3], created, ARGV[4]))
return {OK, created, whole(now_ms())}
