-- sorted: text in the order of its bytes. `<` would take the order of the language that the server is set to.

local function before(one, other)
    for i = 1, math.min(#one, #other) do
        local left, right = string.byte(one, i), string.byte(other, i)
        if left ~= right then
            return left < right
        end
    end
    return #one < #other
end
