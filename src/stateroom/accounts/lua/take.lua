-- Count a change, unless its limit is reached.
-- KEYS: the count of an account or an address. ARGV: the limit, the window in milliseconds.
-- Returns {wait, keys of another type, unreadable keys}. The wait is 0 if the change may be made, else milliseconds.
local wait = 0
if count_of(KEYS[1]) >= tonumber(ARGV[1]) then wait = life_of(KEYS[1], ARGV[2]) else add_one(KEYS[1], ARGV[2]) end
return {wait, of_another_type, unreadable}
