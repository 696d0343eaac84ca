-- amount: what an amount can be.

local function require_amount(text, least)
    require_integer(text)
    local number = tonumber(text)
    assert(number >= least and number <= MAX_AMOUNT, 'an amount has to be within the bounds')
end
