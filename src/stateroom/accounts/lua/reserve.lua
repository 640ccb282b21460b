-- Count an attempt before it is made, so that parallel guesses cannot pass together.
-- KEYS: failures of the account from this address, failures of the address.
-- ARGV: most per account, most per address, window in milliseconds.
-- Returns {wait, keys of another type, unreadable keys}. The wait is 0 if the attempt may be made, else milliseconds.
local wait = 0
for i = 1, 2 do
  if count_of(KEYS[i]) >= tonumber(ARGV[i]) then wait = math.max(wait, life_of(KEYS[i], ARGV[3])) end
end
if wait == 0 then
  for i = 1, 2 do add_one(KEYS[i], ARGV[3]) end
end
return {wait, of_another_type, unreadable}
