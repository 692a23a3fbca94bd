-- What the table of attacks needs besides the fixture: every kind of tenancy, of relationship and
-- of function, and all that PostgREST can be told to serve, switched on.
--
-- Ids of the other organization's rows are 8800880000 and more, but for those that rows of the
-- caller's refer to; its numbers are 777000 and more.

alter table projects alter created_at set default '2026-01-03Z';
alter table events alter meta set default '{"room": "ACME-ONLY-default"}';

create table organizations (
    id uuid primary key,
    name text not null
);
insert into organizations values
    ('11111111-1111-4111-8111-111111111111', 'ACME-ONLY-organization'),
    ('22222222-2222-4222-8222-222222222222', 'GLOBEX-ONLY-organization');

set session_replication_role = replica;
update projects set id = 8800880004 where id = 4;
update events set id = 8800880000 + id where id in (4, 6);
update events set project_id = 8800880004 where project_id = 4;
update events set capacity = 777000 + capacity where organization_id = '22222222-2222-4222-8222-222222222222';
-- References from one organization's rows to the other's, as nothing forbids them.
update events set project_id = 3 where id = 2;
update events set project_id = 1 where id = 5;
set session_replication_role = origin;

alter table projects add constraint projects_organization_id_fkey
    foreign key (organization_id) references organizations (id);
alter table events add constraint events_organization_id_fkey
    foreign key (organization_id) references organizations (id);
alter table events add unique (organization_id, id);

-- Belongs through a parent.
create table comments (
    id bigint primary key,
    event_id bigint not null references events (id) on delete cascade,
    body text not null
);
insert into comments values
    (1, 1, 'ACME-ONLY-c1'), (2, 3, 'ACME-ONLY-c2'),
    (8800880003, 8800880004, 'GLOBEX-ONLY-c3'), (8800880004, 5, 'GLOBEX-ONLY-c4');
-- And refers to its parent's table in a second way; the caller's bodies are numbers.
create table mentions (
    id bigint primary key,
    event_id bigint not null references events (id) on delete cascade,
    about_id bigint references events (id) on delete cascade,
    body text not null
);
insert into mentions values
    (1, 1, 5, '11'), (2, 3, 1, '12'), (8800880003, 5, 1, 'GLOBEX-ONLY-m3');

-- A reference into the table itself.
create table staff (
    id bigint primary key,
    organization_id uuid not null,
    manager_id bigint references staff (id),
    name text not null
);
insert into staff values
    (1, '11111111-1111-4111-8111-111111111111', null, 'ACME-ONLY-boss'),
    (2, '11111111-1111-4111-8111-111111111111', 1, 'ACME-ONLY-worker'),
    (5, '22222222-2222-4222-8222-222222222222', 1, 'GLOBEX-ONLY-boss'),
    (3, '11111111-1111-4111-8111-111111111111', 5, 'ACME-ONLY-lent');

-- A junction, with links across organizations.
create table tags (
    id bigint primary key,
    organization_id uuid not null,
    label text not null
);
create table event_tags (
    event_id bigint not null references events (id) on delete cascade,
    tag_id bigint not null references tags (id) on delete cascade,
    primary key (event_id, tag_id)
);
insert into tags values
    (1, '11111111-1111-4111-8111-111111111111', 'ACME-ONLY-t1'),
    (2, '22222222-2222-4222-8222-222222222222', 'GLOBEX-ONLY-t2');
insert into event_tags values (1, 1), (1, 2), (2, 2), (8800880004, 1), (8800880004, 2);

-- A key that holds the tenant.
create table settings (
    organization_id uuid not null,
    key text not null,
    value text,
    primary key (organization_id, key)
);
insert into settings values
    ('11111111-1111-4111-8111-111111111111', 'theme', 'ACME-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'theme', 'GLOBEX-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'only', 'GLOBEX-ONLY-only');

-- Keys of both kinds.
create table pages (
    id bigint primary key,
    organization_id uuid not null,
    slug text not null unique,
    name text not null,
    title text,
    unique (organization_id, name)
);
insert into pages values
    (1, '11111111-1111-4111-8111-111111111111', 'a', 'home', 'ACME-ONLY-page'),
    (8800880002, '22222222-2222-4222-8222-222222222222', 'b', 'home', 'GLOBEX-ONLY-page');

-- Rows without an organization: everybody's, and nobody's.
create table templates (
    id bigint primary key,
    organization_id uuid,
    text text not null
);
create table notes (
    id bigint primary key,
    organization_id uuid,
    text text not null
);
insert into templates values
    (1, '11111111-1111-4111-8111-111111111111', 'ACME-ONLY-template'),
    (8800880002, '22222222-2222-4222-8222-222222222222', 'GLOBEX-ONLY-template'),
    (3, null, 'shared-template');
insert into notes values
    (1, '11111111-1111-4111-8111-111111111111', 'ACME-ONLY-note'),
    (8800880002, '22222222-2222-4222-8222-222222222222', 'GLOBEX-ONLY-note'),
    (8800880003, null, 'GLOBEX-ONLY-and-nobodys-note');

-- A reference that holds the tenant.
create table tickets (
    id bigint generated by default as identity primary key,
    organization_id uuid not null,
    event_id bigint not null,
    seat text not null,
    constraint tickets_event_fkey
        foreign key (organization_id, event_id) references events (organization_id, id)
);
insert into tickets values
    (1, '11111111-1111-4111-8111-111111111111', 1, 'ACME-ONLY-seat'),
    (8800880002, '22222222-2222-4222-8222-222222222222', 8800880004, 'GLOBEX-ONLY-seat');
alter sequence tickets_id_seq restart 1001;

create table guarded (
    id bigint primary key,
    organization_id uuid not null,
    text text not null
);
insert into guarded values
    (1, '11111111-1111-4111-8111-111111111111', 'ACME-ONLY-guarded'),
    (8800880002, '22222222-2222-4222-8222-222222222222', 'GLOBEX-ONLY-guarded');

create view event_totals as
select organization_id, count(*) as total, max(title) as last, max(capacity) as most
from events group by organization_id;

-- What a row of one's own can be asked for.
create function computed_projects(events) returns setof projects rows 1
language sql stable as 'select * from projects where id = 3';
create function leak(events) returns text
language sql stable security definer as
$$ select value from secrets where organization_id = '22222222-2222-4222-8222-222222222222' $$;

create function org_stats(org uuid, low int default 0) returns table (title text, capacity int)
language sql stable as
'select title, capacity from events where organization_id = org and capacity >= low order by id';
create function bump(org uuid, event bigint, by int default 1) returns int
language sql as
'update events set capacity = capacity + by where id = event and organization_id = org returning capacity';
create function listed() returns setof events
language sql stable security definer as 'select * from events order by id';
create function own_events(org uuid) returns setof events
language sql stable security definer as
'select * from events where organization_id = org order by id';
create function unlisted() returns setof events
language sql stable security definer as 'select * from events order by id';
create function graphql(query text default '') returns jsonb
language sql stable security definer as 'select jsonb_agg(e) from events e';
create function request_headers() returns jsonb
language sql stable as $$ select current_setting('request.headers')::jsonb $$;
create function request_cookies() returns text
language sql stable as $$ select current_setting('request.cookies', true) $$;

create schema private;
create table private.events (id bigint primary key, title text);
insert into private.events values (1, 'GLOBEX-ONLY-private');
grant usage on schema private to authenticated, anon;
grant select on private.events to authenticated, anon;

grant select, insert, update, delete on all tables in schema public to authenticated, service_role;
grant usage on all sequences in schema public to authenticated, service_role;
grant execute on all functions in schema public to authenticated, service_role;

alter role authenticator in database app set pgrst.db_schemas = 'public, private';
alter role authenticator in database app set pgrst.db_plan_enabled = 'true';
alter role authenticator in database app set pgrst.db_aggregates_enabled = 'true';
alter role authenticator in database app set pgrst.db_tx_end = 'commit-allow-override';
