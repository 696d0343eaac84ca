-- amount: what an amount can be.

local function require_amount(text, least)
    require_integer(text)
    assert(tonumber(text) >= least, 'an amount has to be within the bounds')
end
