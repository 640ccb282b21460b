-- Store a new session. KEYS: session, expiry index, user index.
-- ARGV: skew, latest, handle, user, idle, lifetime, most sessions of the user (0: any), the handle of the
-- user's session that this one replaces ('': none), which does not count, then field, value, …
-- Returns {OK, now, expires, handles over the limit, oldest first}.
local now = now_ms()
if is_late(now) then return {LATE} end
local session, expiries, sessions = KEYS[1], KEYS[2], KEYS[3]
local handle, user, idle, lifetime, limit = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local replaced = ARGV[8]
if redis.call('EXISTS', session) == 1 then return {EXISTS} end

local size = 0
for i = 9, #ARGV, 2 do
  redis.call('HSET', session, ARGV[i], ARGV[i + 1])
  local first = string.sub(ARGV[i], 1, 1)
  if first == '.' or first == '!' then size = size + #ARGV[i] + #ARGV[i + 1] end
end
local deadline = now + lifetime
redis.call('HSET', session, 'v', 1, 'c', whole(now), 'r', whole(now), 'd', whole(deadline), 'i', whole(idle), 'z', size)
if user ~= '' then redis.call('HSET', session, 'u', user, 'a', whole(now)) end
local expires = math.min(now + idle, deadline)
keep_until(now, session, expiries, sessions, handle, user, whole(now), expires)

local over = {}
if user ~= '' and limit > 0 then
  local stem = string.sub(session, 1, #session - #handle)
  local others = {}
  for _, each in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
    if not live(now, stem .. each) then
      redis.call('ZREM', sessions, each)
    elseif each ~= handle and each ~= replaced then
      others[#others + 1] = each
    end
  end
  for i = 1, #others + 1 - limit do over[i] = others[i] end
end
return {OK, whole(now), whole(expires), over}
