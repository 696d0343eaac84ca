-- losses: the entries that the store is known to have lost: the names of their fields in the meta record, and how
-- many there are.

local function losses(meta)
    local names = {}
    for name in pairs(meta) do
        if string.sub(name, 1, #LOST) == LOST then
            names[#names + 1] = name
        end
    end
    return names, #names
end
