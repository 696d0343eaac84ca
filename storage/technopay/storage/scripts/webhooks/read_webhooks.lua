-- read_webhooks(version) no-writes
--
-- Read all webhooks with their encrypted secrets; deleted ones, too, until all partitions have forgotten them.
--
-- Returns {code, now, '', version, [{webhook, fields}]}; 'nothing' if they still have this version

local epochs = read('webhooks') or {}
local current = epochs.version or '0'
if current == version then
    return {'nothing', at, ''}
end
local found = {}
for id in pairs(epochs) do
    if id ~= 'version' then
        found[#found + 1] = {id, flat(read('endpoint', id))}
    end
end
return {'ok', at, '', current, found}
