-- Store a session that Redis has lost, pending until the journal has been asked once more.
-- KEYS: session, expiry index, user index, the tombstone of an end that the journal does not have yet.
-- ARGV: skew, latest, handle, user, created, renewed, deadline, idle, then field, value, …
-- Returns {OK}, {EXISTS} if another request was faster, or {GONE} if it has expired or has a tombstone.
local now = now_ms()
if is_late(now) then return {LATE} end
local session, created, renewed, deadline, idle = KEYS[1], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if read(session) then return {EXISTS} end
if redis.call('EXISTS', KEYS[4]) == 1 then return {GONE} end
local expires = math.min(tonumber(renewed) + tonumber(idle), tonumber(deadline))
if expires <= now then return {GONE} end
if redis.call('EXISTS', session) == 1 then redis.call('DEL', session) end -- an unreadable key is not a session
local size = 0
for i = 9, #ARGV, 2 do size = size + growth(session, ARGV[i], string.match(ARGV[i], '^[.!]') and ARGV[i + 1]) end
for i = 9, #ARGV, 2 do redis.call('HSET', session, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', session, 'v', 1, 'c', created, 'r', renewed, 'd', deadline, 'i', idle, 'z', size, 'p', 1)
if ARGV[4] ~= '' then redis.call('HSET', session, 'u', ARGV[4]) end
keep_until(now, session, KEYS[2], KEYS[3], ARGV[3], ARGV[4], created, expires)
return {OK}
