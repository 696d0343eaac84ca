-- pack: a list as one string, because each item of a reply costs the store as much as a small command.

-- The values, joined by ASCII's unit separator; the list itself if `texts`, the values from outside, contain one.
local function pack(values, texts)
    if string.find(texts, '\31', 1, true) then
        return values
    end
    return table.concat(values, '\31')
end
