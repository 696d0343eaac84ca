-- pack: values in one piece, because every piece of a reply costs the store as much as a small command.

-- The values between ASCII's unit separators; or as they are, a list, if the texts among them hold one. `texts` are
-- those that can: what scripts and engines make themselves never does.
local function pack(values, texts)
    if string.find(texts, '\31', 1, true) then
        return values
    end
    return table.concat(values, '\31')
end
