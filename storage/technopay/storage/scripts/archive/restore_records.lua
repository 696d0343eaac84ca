-- restore_records(records...)
--
-- Restore payments and invoices that left the store, for a moment: they are read, and a refund keeps them.
--
-- records  two each: payment or invoice, and its fields as JSON
--
-- Returns {code, now, '', how many were not there}

local RESTORED_MS = 10000

local restored = 0
for i = 1, #records, 2 do
    local kind = SUBJECTS[string.sub(records[i], 1, 4)].kind
    if not exists(kind, records[i]) then
        redis.call('HSET', key(kind, records[i]), unpack(flat(cjson.decode(records[i + 1]))))
        redis.call('PEXPIRE', key(kind, records[i]), RESTORED_MS)
        restored = restored + 1
    end
end
return {'ok', at, '', restored}
