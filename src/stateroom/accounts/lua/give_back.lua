-- The attempt could not be made: take both counts back.
-- KEYS as in reserve.lua. Returns {0, keys of another type, unreadable keys}.
for i = 1, 2 do take_one_back(KEYS[i]) end
return {0, of_another_type, unreadable}
