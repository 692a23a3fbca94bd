-- Where the days and months of an organization begin, for its usage and quotas: a name of the IANA
-- database, such as `Europe/Berlin`. Null: as the gateways' `metering.zone` says.

alter table tollgate.organizations add column if not exists time_zone text;

-- A zone that nobody knows would keep gateways from serving the organization: better told to whoever
-- writes it. The gateway reads the name by its own copy of the database.
create or replace function tollgate.check_time_zone() returns trigger
language plpgsql set search_path = '' as $$
begin
    if new.time_zone is not null and not exists (
        select from pg_catalog.pg_timezone_names zone where zone.name = new.time_zone
    ) then
        raise exception '`%` is not a time zone of the IANA database, such as `Europe/Berlin` or `UTC`',
            new.time_zone using errcode = 'invalid_parameter_value';
    end if;
    return new;
end
$$;

create or replace trigger check_time_zone before insert or update of time_zone
    on tollgate.organizations
    for each row execute function tollgate.check_time_zone();
