-- given: arguments that can be missing, as ''.

local function given(text)
    return text ~= '' and text or nil
end

-- Add a name and its value, unless that is missing.
local function add_given(list, name, text)
    if given(text) then
        list[#list + 1], list[#list + 2] = name, text
    end
end
