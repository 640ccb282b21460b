-- Write what changed, and only if the session is still there. KEYS: session, expiry index, user index.
-- ARGV: skew, latest, handle, user, most bytes, renew (1 or 0), how many fields are set, appended, deleted,
-- then field, value for each set, field, value for each appended (joined by a line feed), field for each deleted.
-- Returns {OK, size, renewed at, expires} ('' where not renewed) or {TOO_LARGE, size}.
local now = now_ms()
if is_late(now) then return {LATE} end
local session = KEYS[1]
local size = redis.call('HGET', session, 'z')
if not size or has_expired(now, session) then return {GONE} end
local before = tonumber(size)
size = before

local values, gone = {}, {}
local at = 10
for _ = 1, tonumber(ARGV[7]) do
  values[#values + 1] = {ARGV[at], ARGV[at + 1]}
  at = at + 2
end
for _ = 1, tonumber(ARGV[8]) do
  local old = redis.call('HGET', session, ARGV[at])
  values[#values + 1] = {ARGV[at], old and old .. '\n' .. ARGV[at + 1] or ARGV[at + 1]}
  at = at + 2
end
for _ = 1, tonumber(ARGV[9]) do
  gone[#gone + 1] = ARGV[at]
  at = at + 1
end
for _, pair in ipairs(values) do size = size + growth(session, pair[1], pair[2]) end
for _, field in ipairs(gone) do size = size + growth(session, field) end
if size > tonumber(ARGV[5]) and size > before then return {TOO_LARGE, size} end

for _, pair in ipairs(values) do redis.call('HSET', session, pair[1], pair[2]) end
for _, field in ipairs(gone) do redis.call('HDEL', session, field) end
if size ~= before then redis.call('HSET', session, 'z', size) end
if ARGV[6] == '1' then
  return {OK, size, whole(now), whole(renew(now, session, KEYS[2], KEYS[3], ARGV[3], ARGV[4]))}
end
return {OK, size, '', ''}
