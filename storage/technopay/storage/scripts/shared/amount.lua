-- amount: what an amount can be.

local function require_amount(text, least)
    require_integer(text)
    local number = tonumber(text)
    assert(number >= least and number <= MAX_AMOUNT, 'an amount has to be within the bounds')
end

-- A change is an amount in either direction.
local function require_change(text)
    require_integer(text)
    local number = math.abs(tonumber(text))
    assert(number >= 1 and number <= MAX_AMOUNT, 'a change has to be within the bounds')
end
