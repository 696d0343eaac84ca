-- list_records(keys=[journal], args=[kind, index, cursor, count])
--
-- List what an index holds, newest first: 'invoice' or 'payment' records.
--
-- index   the index's key without its tag, e.g. 'invoices:alice'
-- cursor  the id after which to go on, '' for the newest
--
-- Returns {code, now, '', [{id, fields}] or [view], next cursor}
--@include base
--@include payment
--@include record
--@include invoice

local kind, index, cursor, count = unpack(ARGV, 1, 4)

local from = cursor == '' and '+' or '(' .. cursor
local ids = redis.call('ZREVRANGEBYLEX', key(index), from, '-', 'LIMIT', 0, count + 1)
local next_cursor = ''
if #ids > tonumber(count) then
    ids[#ids] = nil
    next_cursor = ids[#ids]
end
local records = {}
for _, id in ipairs(ids) do
    if exists(kind, id) then
        records[#records + 1] = kind == 'payment' and view(id) or {id, flat(read_invoice(id))}
    end
end
return {'ok', at, '', records, next_cursor}
