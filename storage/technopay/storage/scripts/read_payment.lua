-- read_payment(keys=[journal], args=[payment, user])
--
-- Read one payment; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', view}
--@include base
--@include payment

local id, user_id = unpack(ARGV, 1, 2)

local payment = read('payment', id)
local invoice = payment and read('invoice', payment.invoice)
if not payment or (user_id ~= '' and invoice.user ~= user_id) then
    return {'payment_not_found', int(now), ''}
end
return {'ok', int(now), '', view(id, payment, invoice)}
