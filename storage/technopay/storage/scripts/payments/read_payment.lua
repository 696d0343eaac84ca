-- read_payment(payment_id, user_id) no-writes
--
-- Read a payment; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', view}

if not is_shown_to(user_id, 'payment', payment_id) then
    return {'payment_not_found', at, ''}
end
return {'ok', at, '', view(payment_id)}
