-- read_payment(payment_id, user_id) no-writes
--
-- Read a payment of a user.
--
-- Returns {code, now, '', view}

if fields('payment', payment_id, 'user') ~= user_id then
    return {'payment_not_found', at, ''}
end
return {'ok', at, '', view(payment_id)}
