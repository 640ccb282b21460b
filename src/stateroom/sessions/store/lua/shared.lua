-- What every script calls. Times are milliseconds since the epoch.
-- ARGV[1] is the skew that tests add to the server's time, ARGV[2] the time after which the caller has given up.

local OK, GONE, LATE, TOO_LARGE, CONFLICT, EXISTS = 1, 0, -1, -2, -3, -4

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
end

-- A command that a hung server runs after its caller gave up must not write.
local function is_late(now)
  return now > tonumber(ARGV[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Redis' own expiry decides; but where a test has moved the clock, Redis does not know.
local function has_expired(now, session)
  if ARGV[1] == '0' then return false end
  local renewed, idle, deadline = unpack(redis.call('HMGET', session, 'r', 'i', 'd'))
  return renewed and math.min(renewed + idle, tonumber(deadline)) <= now
end

local function expiry_member(handle, created, user)
  return handle .. ':' .. created .. ':' .. user
end

-- Set when the session ends by itself, in the key's life and in both indexes.
local function keep_until(now, session, expiries, sessions, handle, user, created, expires)
  redis.call('PEXPIRE', session, whole(math.max(expires - now, 1)))
  redis.call('ZADD', expiries, whole(expires), expiry_member(handle, created, user))
  if user ~= '' then
    redis.call('ZADD', sessions, created, handle)
    if redis.call('PTTL', sessions) < expires - now then
      redis.call('PEXPIRE', sessions, whole(expires - now))
    end
  end
end

-- Slide the idle lifetime, never past the deadline. Returns the new end.
local function renew(now, session, expiries, sessions, handle, user)
  local created, idle, deadline = unpack(redis.call('HMGET', session, 'c', 'i', 'd'))
  local expires = math.min(now + tonumber(idle), tonumber(deadline))
  redis.call('HSET', session, 'r', whole(now))
  keep_until(now, session, expiries, sessions, handle, user, created, expires)
  return expires
end

-- How much the data grows when a field takes a value; nil or '' takes it away. A field's name counts.
local function growth(session, field, value)
  local old = redis.call('HSTRLEN', session, field)
  local before = old > 0 and old + #field or 0
  local after = (value and value ~= '') and #value + #field or 0
  return after - before
end
