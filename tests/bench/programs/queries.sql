-- A database in memory: tables, an index, joins, groups, updates.
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, city INTEGER, score REAL);
CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO person SELECT i, 'person number ' || i, i * 7919 % 500, i * 31 % 1000 / 10.0 FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 499)
INSERT INTO city SELECT i, 'city ' || i FROM n;
CREATE INDEX person_name ON person (name);
SELECT city.name, count(*), avg(score) FROM person JOIN city ON city.id = person.city
GROUP BY city.name ORDER BY 2 DESC, 1 LIMIT 3;
UPDATE person SET name = upper(name) || '!' WHERE id % 3 = 0;
SELECT count(DISTINCT substr(name, 1, 12)), max(length(name)) FROM person;
SELECT name FROM person WHERE name LIKE '%99%' ORDER BY name DESC LIMIT 3;
