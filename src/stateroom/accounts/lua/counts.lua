-- What every script of counts calls. Only Stateroom should write under its prefix. If another program does, a key that holds
-- no count is deleted, because it is a missing one: otherwise nobody could sign in from there.

-- The keys that held another type, and those that held no number. The caller logs them.
local of_another_type, unreadable = {}, {}

-- A count; 0 if there is none.
local function count_of(key)
  local value = redis.pcall('GET', key)
  if not value then return 0 end
  if type(value) == 'table' then
    if not string.find(tostring(value.err), 'WRONGTYPE', 1, true) then error(value) end
    of_another_type[#of_another_type + 1] = key
  elseif string.match(value, '^%d+$') and #value <= 15 then
    return tonumber(value)
  else
    unreadable[#unreadable + 1] = key
  end
  redis.call('DEL', key)
  return 0
end

-- How many milliseconds a count lives. A count without an end, which a copied database may have, gets one.
local function life_of(key, window)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, window) end
  return math.max(redis.call('PTTL', key), 1)
end

local function add_one(key, window)
  redis.call('INCR', key)
  life_of(key, window)
end

local function take_one_back(key)
  if count_of(key) > 0 then redis.call('DECR', key) end
end
