-- Write the changes, only if the session is still there. KEYS: session, expiry index, user index.
-- ARGV: skew, latest, handle, user, most bytes, renew (1 or 0), how many fields are set, appended, deleted,
-- most lines and most bytes of what is appended to, then field, value for each set, field, value for each appended
-- (joined by a line feed), field for each deleted.
-- Returns {OK, size, renewed at, expires} ('' if not renewed) or {TOO_LARGE, size}.
local now = now_ms()
if is_late(now) then return {LATE} end
local session = KEYS[1]
local this = live(now, session)
if not this then return {GONE} end
local before, size = this.size, this.size
local most, most_lines, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[10]), tonumber(ARGV[11])

-- The newest lines of messages, within the bounds.
local function newest(text, bytes)
  local _, breaks = string.gsub(text, '\n', '')
  local lines = breaks + 1
  while text ~= '' and (lines > most_lines or #text > bytes) do
    local at = string.find(text, '\n', 1, true)
    text = at and string.sub(text, at + 1) or ''
    lines = lines - 1
  end
  return text
end

local values, messages, gone = {}, {}, {}
local at = 12
for _ = 1, tonumber(ARGV[7]) do
  values[#values + 1] = {ARGV[at], ARGV[at + 1]}
  at = at + 2
end
for _ = 1, tonumber(ARGV[8]) do
  local old = redis.call('HGET', session, ARGV[at])
  local text = (old and old ~= '') and old .. '\n' .. ARGV[at + 1] or ARGV[at + 1]
  messages[#messages + 1] = {ARGV[at], newest(text, most_bytes)}
  at = at + 2
end
for _ = 1, tonumber(ARGV[9]) do
  gone[#gone + 1] = ARGV[at]
  at = at + 1
end
for _, pair in ipairs(values) do size = size + growth(session, pair[1], pair[2]) end
for _, field in ipairs(gone) do size = size + growth(session, field) end
for _, pair in ipairs(messages) do
  local more = growth(session, pair[1], pair[2])
  if size + more > most then -- messages are shortened first, so that they never prevent a save
    pair[2] = newest(pair[2], math.max(0, #pair[2] - (size + more - most)))
    more = growth(session, pair[1], pair[2])
  end
  size = size + more
end
if size > most and size > before then return {TOO_LARGE, whole(size)} end

for _, pair in ipairs(values) do redis.call('HSET', session, pair[1], pair[2]) end
for _, pair in ipairs(messages) do
  if pair[2] == '' then redis.call('HDEL', session, pair[1]) else redis.call('HSET', session, pair[1], pair[2]) end
end
for _, field in ipairs(gone) do redis.call('HDEL', session, field) end
if size ~= before then redis.call('HSET', session, 'z', whole(size)) end
if ARGV[6] == '1' then
  return {OK, size, whole(now), whole(renew(now, session, this, KEYS[2], KEYS[3], ARGV[3], ARGV[4]))}
end
return {OK, size, '', ''}
