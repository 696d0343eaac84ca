-- amount: what an amount can be. Doubles are exact up to here.

local MAX_AMOUNT = 9007199254740991

-- What is no amount stops a script before it writes: tonumber would take 'nan', '0x10' and '1e3', too.
local function require_amount(text, least)
    local number = string.match(text, '^%d+$') and tonumber(text)
    assert(number and number >= least and number <= MAX_AMOUNT, 'an amount has to be digits within the bounds')
end
