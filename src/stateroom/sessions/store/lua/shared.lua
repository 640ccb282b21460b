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

-- The last moment of the year 9999: Python has no later time.
local LATEST_MS = 253402300799999

-- Whether a command met a key of another type. Only Stateroom should write under its prefix. If another program does, a
-- session there counts as missing, and an index there as empty.
local function met_another_type(reply)
  return type(reply) == 'table' and reply.err and string.find(tostring(reply.err), 'WRONGTYPE', 1, true) ~= nil
end

-- Fields of a session, in a table; nil if its key is of another type.
local function fields_of(session, ...)
  local found = redis.pcall('HMGET', session, ...)
  if not found.err then return found end
  if not met_another_type(found) then error(found) end
  return nil
end

local function number(text)
  local read = tonumber(text or '')
  return read and read >= 0 and read <= LATEST_MS and read or nil
end

-- A session's numbers; nil if it is missing or one of them cannot be read.
local function read(session)
  local found = fields_of(session, 'c', 'r', 'i', 'd', 'z')
  if not found then return nil end
  local created, renewed, idle = number(found[1]), number(found[2]), number(found[3])
  local deadline, size = number(found[4]), number(found[5])
  if not (created and renewed and idle and deadline and size) then return nil end
  local expires = math.min(renewed + idle, deadline)
  return {created = created, renewed = renewed, idle = idle, deadline = deadline, size = size, expires = expires}
end

-- Redis' own expiry decides. If a test has moved the clock, Redis does not know of that.
local function has_expired(now, this)
  return ARGV[1] ~= '0' and this.expires <= now
end

-- A session's numbers if it is there and has not expired; else nil.
local function live(now, session)
  local this = read(session)
  if not this or has_expired(now, this) then return nil end
  return this
end

-- A command on an index; nil if something else is there.
local function on_index(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not met_another_type(reply) then error(reply) end
  return nil
end

-- Write an entry of an index. A key of another type is replaced.
local function add_to_index(key, score, member)
  if on_index('ZADD', key, score, member) then return end
  redis.call('DEL', key)
  redis.call('ZADD', key, score, member)
end

local function expiry_member(handle, created, user)
  return handle .. ':' .. created .. ':' .. user
end

-- Set when the session expires: the key's life, and both indexes.
local function keep_until(now, session, expiries, sessions, handle, user, created, expires)
  redis.call('PEXPIRE', session, whole(math.max(expires - now, 1)))
  add_to_index(expiries, whole(expires), expiry_member(handle, created, user))
  if user ~= '' then
    add_to_index(sessions, created, handle)
    if redis.call('PTTL', sessions) < expires - now then
      redis.call('PEXPIRE', sessions, whole(expires - now))
    end
  end
end

-- Slide the idle lifetime, never past the deadline. Returns the new end.
local function renew(now, session, this, expiries, sessions, handle, user)
  local expires = math.min(now + this.idle, this.deadline)
  redis.call('HSET', session, 'r', whole(now))
  keep_until(now, session, expiries, sessions, handle, user, whole(this.created), expires)
  return expires
end

-- How many bytes the data grows when a field gets a value; nil or '' deletes it. A field's name counts.
local function growth(session, field, value)
  local old = redis.call('HSTRLEN', session, field)
  local before = old > 0 and old + #field or 0
  local after = (value and value ~= '') and #value + #field or 0
  return after - before
end
