-- sorted: strings in the order of their bytes, as `<` depends on the locale of the server.

local function before(one, other)
    for i = 1, math.min(#one, #other) do
        local left, right = string.byte(one, i), string.byte(other, i)
        if left ~= right then
            return left < right
        end
    end
    return #one < #other
end
