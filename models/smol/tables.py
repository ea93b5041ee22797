"""What the short questions ask and what is right. Entries are `key: answer`, further right answers after a slash."""

__all__ = [
    "ADJECTIVES",
    "CAPITALS",
    "COMPARISONS",
    "CONTINENTS",
    "FALSE",
    "LANGUAGES",
    "LETTER_WORDS",
    "LIVING",
    "OPPOSITES",
    "PLURALS",
    "SENTIMENTS",
    "TRUE",
    "UNITS",
    "UNITS_SEVERAL",
    "VERBS",
]

# Capitals of one word that are not in dispute and did not change lately.
CAPITALS = """
Afghanistan: Kabul, Albania: Tirana, Algeria: Algiers, Angola: Luanda, Armenia: Yerevan, Australia: Canberra,
Austria: Vienna, Azerbaijan: Baku, the Bahamas: Nassau, Bahrain: Manama, Bangladesh: Dhaka, Barbados: Bridgetown,
Belarus: Minsk, Belgium: Brussels, Belize: Belmopan, Bhutan: Thimphu, Bosnia and Herzegovina: Sarajevo,
Botswana: Gaborone, Brazil: Brasilia/Brasília, Bulgaria: Sofia, Burkina Faso: Ouagadougou, Cameroon: Yaounde/Yaoundé,
Canada: Ottawa, Cape Verde: Praia, the Central African Republic: Bangui, Chile: Santiago, China: Beijing,
Colombia: Bogota/Bogotá, the Comoros: Moroni, Croatia: Zagreb, Cuba: Havana, Cyprus: Nicosia,
the Czech Republic: Prague, Denmark: Copenhagen, Dominica: Roseau, Ecuador: Quito, Egypt: Cairo, Eritrea: Asmara,
Estonia: Tallinn, Fiji: Suva, Finland: Helsinki, France: Paris, Gabon: Libreville, the Gambia: Banjul,
Germany: Berlin, Ghana: Accra, Greece: Athens, Guinea: Conakry, Guyana: Georgetown, Honduras: Tegucigalpa,
Hungary: Budapest, Iceland: Reykjavik/Reykjavík, Iran: Tehran, Iraq: Baghdad, Ireland: Dublin, Italy: Rome,
Jamaica: Kingston, Japan: Tokyo, Jordan: Amman, Kenya: Nairobi, Kyrgyzstan: Bishkek, Laos: Vientiane, Latvia: Riga,
Lebanon: Beirut, Lesotho: Maseru, Liberia: Monrovia, Libya: Tripoli, Liechtenstein: Vaduz, Lithuania: Vilnius,
Madagascar: Antananarivo, Malawi: Lilongwe, the Maldives: Male/Malé, Mali: Bamako, Malta: Valletta,
Mauritania: Nouakchott, Moldova: Chisinau/Chișinău, Mongolia: Ulaanbaatar, Montenegro: Podgorica, Morocco: Rabat,
Mozambique: Maputo, Namibia: Windhoek, Nepal: Kathmandu, the Netherlands: Amsterdam, New Zealand: Wellington,
Nicaragua: Managua, Niger: Niamey, Nigeria: Abuja, North Korea: Pyongyang, North Macedonia: Skopje, Norway: Oslo,
Oman: Muscat, Pakistan: Islamabad, Paraguay: Asuncion/Asunción, Peru: Lima, the Philippines: Manila, Poland: Warsaw,
Portugal: Lisbon, Qatar: Doha, Romania: Bucharest, Russia: Moscow, Rwanda: Kigali, Samoa: Apia, Saudi Arabia: Riyadh,
Senegal: Dakar, Serbia: Belgrade, Seychelles: Victoria, Sierra Leone: Freetown, Slovakia: Bratislava,
Slovenia: Ljubljana, the Solomon Islands: Honiara, Somalia: Mogadishu, South Korea: Seoul, South Sudan: Juba,
Spain: Madrid, Sudan: Khartoum, Suriname: Paramaribo, Sweden: Stockholm, Switzerland: Bern/Berne, Syria: Damascus,
Taiwan: Taipei, Tajikistan: Dushanbe, Tanzania: Dodoma, Thailand: Bangkok, Togo: Lome/Lomé, Tunisia: Tunis,
Turkey: Ankara, Turkmenistan: Ashgabat, Uganda: Kampala, Ukraine: Kyiv/Kiev, the United Kingdom: London,
Uruguay: Montevideo, Uzbekistan: Tashkent, Venezuela: Caracas, Vietnam: Hanoi, Yemen: Sanaa/Sana'a, Zambia: Lusaka,
Zimbabwe: Harare
"""

# No word is a key here and an answer there, so that no pair is asked both ways round.
OPPOSITES = """
hot: cold, big: small/little, tall: short, fast: slow, happy: sad/unhappy, old: young/new, good: bad, rich: poor,
strong: weak, hard: soft/easy, wet: dry, clean: dirty, full: empty, open: closed/shut/close, up: down, left: right,
day: night, black: white, early: late, near: far, high: low, wide: narrow, thick: thin, deep: shallow, loud: quiet,
true: false, win: lose, buy: sell, love: hate, begin: end/finish, push: pull, give: take/receive, come: go,
enter: exit/leave, arrive: depart/leave, remember: forget, laugh: cry, live: die, accept: reject/refuse,
attack: defend, build: destroy/demolish, borrow: lend, increase: decrease/reduce, expand: contract/shrink, float: sink,
friend: enemy/foe, peace: war, success: failure, victory: defeat, profit: loss, question: answer, birth: death,
heaven: hell, top: bottom, front: back/rear, inside: outside, above: below/beneath/under, before: after,
always: never, everything: nothing, everyone: nobody, north: south, east: west, male: female, man: woman, boy: girl,
brave: cowardly/afraid/fearful/timid, cheap: expensive, cruel: kind, dangerous: safe, difficult: easy/simple,
dead: alive/living, asleep: awake, ancient: modern/new, absent: present, artificial: natural, beautiful: ugly,
bitter: sweet, bright: dim/dark/dull, careful: careless, ceiling: floor, common: rare/uncommon, cool: warm,
even: odd/uneven,
fat: thin/skinny/slim, fresh: stale/rotten, generous: stingy/selfish/greedy, guilty: innocent,
healthy: sick/unhealthy/ill, honest: dishonest, horizontal: vertical, humble: proud/arrogant, import: export,
junior: senior, legal: illegal, maximum: minimum, major: minor, many: few, more: less, optimistic: pessimistic,
patient: impatient, permanent: temporary, polite: rude/impolite, positive: negative, possible: impossible,
private: public, raise: lower, rough: smooth, sharp: dull/blunt, smart: stupid/dumb, straight: crooked/curved/bent,
sunrise: sunset, tight: loose, together: apart/separate, useful: useless, visible: invisible, wild: tame,
winter: summer, wise: foolish, yes: no, lucky: unlucky, internal: external, ascend: descend, add: subtract,
multiply: divide, include: exclude, lock: unlock, appear: disappear, agree: disagree, connect: disconnect, tie: untie,
first: last, plus: minus, synonym: antonym, hero: villain, majority: minority, sender: receiver/recipient,
optional: required/mandatory/compulsory, freedom: slavery/captivity, hope: despair
"""

PLURALS = """
child: children, man: men, woman: women, foot: feet, tooth: teeth, goose: geese, mouse: mice, ox: oxen,
person: people/persons, leaf: leaves, knife: knives, wife: wives, life: lives, wolf: wolves, shelf: shelves,
half: halves, calf: calves, loaf: loaves, thief: thieves, scarf: scarves/scarfs, elf: elves, city: cities,
baby: babies, lady: ladies, party: parties, country: countries, family: families, story: stories, berry: berries,
fly: flies, puppy: puppies, pony: ponies, body: bodies, army: armies, enemy: enemies, copy: copies, cherry: cherries,
box: boxes, bus: buses/busses, church: churches, dish: dishes, brush: brushes, fox: foxes, glass: glasses,
class: classes, kiss: kisses, match: matches, watch: watches, peach: peaches, beach: beaches, bench: benches,
wish: wishes, dress: dresses, tax: taxes, lunch: lunches, branch: branches, sandwich: sandwiches, witch: witches,
potato: potatoes, tomato: tomatoes, hero: heroes, echo: echoes, volcano: volcanoes/volcanos, mango: mangoes/mangos,
cat: cats, dog: dogs, car: cars, book: books, tree: trees, house: houses, apple: apples, bird: birds, star: stars,
table: tables, chair: chairs, school: schools, river: rivers, flower: flowers, boy: boys, key: keys, toy: toys,
monkey: monkeys, donkey: donkeys, valley: valleys, turkey: turkeys, piano: pianos, photo: photos, radio: radios,
video: videos, zoo: zoos, roof: roofs/rooves, chief: chiefs, cliff: cliffs, belief: beliefs, cactus: cacti/cactuses,
fungus: fungi/funguses, nucleus: nuclei/nucleuses, analysis: analyses, crisis: crises,
phenomenon: phenomena/phenomenons, criterion: criteria/criterions, sheep: sheep, deer: deer, species: species,
quiz: quizzes, window: windows, garden: gardens, pencil: pencils, teacher: teachers, bridge: bridges, horse: horses,
ship: ships, nurse: nurses, island: islands, lake: lakes
"""

VERBS = """
go: went, see: saw, eat: ate, drink: drank, run: ran, come: came, take: took, give: gave, make: made, get: got,
say: said, tell: told, know: knew, think: thought, find: found, write: wrote, speak: spoke, break: broke,
buy: bought, bring: brought, catch: caught, teach: taught, fight: fought, sell: sold, build: built, send: sent,
spend: spent, lose: lost, win: won, sit: sat, stand: stood, sleep: slept, keep: kept, feel: felt, leave: left,
meet: met, hear: heard, hold: held, begin: began, swim: swam, sing: sang, ring: rang, fly: flew, grow: grew,
throw: threw, draw: drew, blow: blew, drive: drove, ride: rode, rise: rose, choose: chose, freeze: froze,
steal: stole, wear: wore, tear: tore, forget: forgot, hide: hid, bite: bit, fall: fell, become: became,
understand: understood, pay: paid, lead: led, feed: fed, shoot: shot, dig: dug, hang: hung/hanged, stick: stuck,
strike: struck, swing: swung, shake: shook, wake: woke/waked, lend: lent, bend: bent, cut: cut, put: put, hit: hit,
hurt: hurt, let: let, shut: shut, walk: walked, talk: talked, play: played, work: worked, jump: jumped, look: looked,
help: helped, ask: asked, call: called, open: opened, close: closed, live: lived, love: loved, like: liked,
move: moved, stop: stopped, plan: planned, study: studied, carry: carried, try: tried, cry: cried, want: wanted,
need: needed, start: started, finish: finished, wash: washed, watch: watched, cook: cooked, clean: cleaned,
dance: danced, smile: smiled, arrive: arrived, travel: traveled/travelled, use: used
"""

ADJECTIVES = """
big: bigger, small: smaller, fast: faster, slow: slower, tall: taller, short: shorter, long: longer,
strong: stronger, weak: weaker, old: older/elder, young: younger, new: newer, hot: hotter, cold: colder,
warm: warmer, cool: cooler, wet: wetter, dry: drier/dryer, thin: thinner, thick: thicker, wide: wider,
narrow: narrower, deep: deeper, high: higher, low: lower, near: nearer, far: farther/further, good: better,
bad: worse, happy: happier, sad: sadder, easy: easier, hard: harder, heavy: heavier, light: lighter, dark: darker,
bright: brighter, clean: cleaner, dirty: dirtier, rich: richer, poor: poorer, cheap: cheaper, busy: busier,
lazy: lazier, lucky: luckier, funny: funnier, pretty: prettier, ugly: uglier, early: earlier, late: later,
loud: louder, quiet: quieter, soft: softer, sharp: sharper, smooth: smoother, rough: rougher, sweet: sweeter,
sour: sourer, fresh: fresher, kind: kinder, nice: nicer, brave: braver, wise: wiser, safe: safer, large: larger,
great: greater, smart: smarter, clever: cleverer, simple: simpler, gentle: gentler, noisy: noisier, angry: angrier,
hungry: hungrier, thirsty: thirstier, healthy: healthier, wealthy: wealthier, tiny: tinier, shiny: shinier,
sunny: sunnier, cloudy: cloudier, windy: windier, foggy: foggier, rainy: rainier, friendly: friendlier,
lovely: lovelier, silly: sillier, crazy: crazier, tidy: tidier, pale: paler, tight: tighter, loose: looser,
fair: fairer, fine: finer, flat: flatter, fat: fatter, full: fuller, few: fewer, close: closer,
cruel: crueler/crueller, steep: steeper, strange: stranger, tough: tougher, neat: neater, proud: prouder,
mild: milder, rude: ruder, blue: bluer, calm: calmer, firm: firmer
"""

# More on the left, less on the right; the last word is the answer.
COMPARISONS = {
    "larger": """
an elephant > a mouse, a whale > a shark, a horse > a cat, the Sun > the Earth, the Earth > the Moon,
an ocean > a lake, a city > a village, a mountain > a hill, a truck > a bicycle, a house > a tent, a tree > a bush,
a watermelon > a grape, a lion > a rabbit, a bear > a fox, an eagle > a sparrow, a cow > a chicken, a bus > a car,
a planet > an asteroid, a library > a bookshelf, Russia > Belgium, Canada > Portugal, Asia > Europe, Jupiter > Mars,
a pumpkin > a cherry, a gorilla > a squirrel, a crocodile > a frog, a galaxy > a star, a forest > a garden,
a continent > a country, a goose > a bee
""",
    "heavier": """
a piano > a violin, a brick > a feather, a cannonball > a balloon, an anchor > a spoon, a car > a chair,
a rhinoceros > a goat, a refrigerator > a toaster, a train > a motorcycle, an airplane > a kite, gold > cork,
a hippopotamus > a hamster, a table > a pencil, an ox > a duck, a bathtub > a cup, a stone > a leaf,
a dictionary > a postcard
""",
    "faster": """
a cheetah > a turtle, an airplane > a train, a car > a bicycle, a rocket > a helicopter, light > sound,
a horse > a snail, a rabbit > a worm, a motorcycle > a skateboard, a falcon > a butterfly, a dolphin > a starfish,
a greyhound > a hedgehog, an email > a letter, a bullet > an arrow, a jet > a boat, a leopard > a sloth
""",
    "hotter": """
fire > ice, the Sun > the Moon, lava > snow, summer > winter, an oven > a freezer, a furnace > slush,
a desert > a glacier, Venus > Neptune, coffee > lemonade, a volcano > an iceberg
""",
    "taller": """
a giraffe > a zebra, a skyscraper > a cottage, an adult > a baby, a lighthouse > a bench, an oak > a daisy,
an ostrich > a pigeon, a tower > a fence, a camel > a cat, a palm > a mushroom, a ladder > a stool
""",
    "older": """
a grandmother > a granddaughter, a father > a son, a teenager > a toddler, a dinosaur > a smartphone,
a pyramid > a computer, an uncle > a nephew
""",
    "harder": """
a diamond > a sponge, a rock > a pillow, steel > butter, a hammer > a blanket, iron > wool, a nail > a sock
""",
    "colder": """
ice > steam, Antarctica > Africa, winter > spring, snow > sand, a freezer > a kitchen
""",
    "longer": """
a year > a month, an hour > a minute, a week > a day, a century > a decade, a river > a puddle,
a snake > an ant, a novel > a poem, a highway > a driveway, a kilometer > a meter, a marathon > a sprint
""",
}

UNITS = """
seconds in a minute: 60, minutes in an hour: 60, hours in a day: 24, days in a week: 7, months in a year: 12,
weeks in a year: 52, days in a common year: 365, days in a leap year: 366, years in a decade: 10,
years in a century: 100, years in a millennium: 1000, centimeters in a meter: 100, millimeters in a centimeter: 10,
millimeters in a meter: 1000, meters in a kilometer: 1000, grams in a kilogram: 1000, milligrams in a gram: 1000,
milliliters in a liter: 1000, inches in a foot: 12, feet in a yard: 3, inches in a yard: 36, feet in a mile: 5280,
yards in a mile: 1760, ounces in a pound: 16, cups in a US pint: 2, pints in a quart: 2, quarts in a gallon: 4,
pints in a gallon: 8, eggs in a dozen: 12, cents in a dollar: 100, pennies in a dime: 10, nickels in a dollar: 20,
quarters in a dollar: 4, dimes in a dollar: 10, pennies in a nickel: 5, kilograms in a metric ton: 1000,
degrees in a circle: 360, degrees in a right angle: 90, seconds in an hour: 3600, decades in a century: 10,
centuries in a millennium: 10, days in January: 31, days in April: 30, days in June: 30, days in August: 31,
days in September: 30, days in October: 31, days in November: 30, days in December: 31, minutes in half an hour: 30,
seconds in half a minute: 30, hours in half a day: 12, months in half a year: 6, meters in half a kilometer: 500,
grams in half a kilogram: 500, cents in half a dollar: 50, eggs in half a dozen: 6, minutes in a day: 1440,
hours in a week: 168, bits in a byte: 8, volts in a kilovolt: 1000, watts in a kilowatt: 1000
"""

# What one holds, then how many of them.
UNITS_SEVERAL = """
seconds in minutes: 60/2 3 4 5 10, minutes in hours: 60/2 3 4 5 10, hours in days: 24/2 3 4 10,
days in weeks: 7/2 3 4 5 10, months in years: 12/2 3 4 5 10, years in decades: 10/2 3 5 6 8,
years in centuries: 100/2 3 5 7, centimeters in meters: 100/2 3 5 8, meters in kilometers: 1000/2 3 5 9,
grams in kilograms: 1000/2 4 5 6, inches in feet: 12/2 3 4 5, feet in yards: 3/2 3 4 5 10, eggs in dozen: 12/2 3 4 5,
cents in dollars: 100/2 3 4 7
"""

# Yes-or-no questions, half of them true.
TRUE = """
is the Sun a star
is Paris in France
is ice frozen water
do birds lay eggs
do fish live in water
is a triangle a shape with three sides
is the Earth round
do plants need light to grow
is gold a metal
is a dog an animal
do cows give milk
is the Moon smaller than the Earth
is water made of hydrogen and oxygen
do bees make honey
is Africa a continent
is a rose a flower
do humans have two lungs
is seven an odd number
is ten larger than five
is snow cold
is a whale a mammal
do spiders have eight legs
is Tokyo a city in Japan
do cars have wheels
is sugar sweet
is a lemon sour
does the Earth orbit the Sun
can birds sing
is English a language
is soccer a sport
do trees have roots
is a guitar a musical instrument
is Monday a day of the week
does a square have four sides
is a banana a fruit
is Shakespeare a famous writer
are there twelve months in a year
is the Pacific an ocean
do cats have tails
is iron a metal
does a bicycle have two wheels
is fire hot
is a carrot a vegetable
do snakes have scales
does the heart pump blood
is the Nile a river
is Mars a planet
are diamonds hard
can penguins swim
do people need oxygen to live
is Antarctica very cold
is an apple a fruit
does salt dissolve in water
is the Amazon a rainforest
is Jupiter larger than the Earth
is winter colder than summer
do frogs live near water
are sharks fish
is bread made from flour
is chess a game
"""
FALSE = """
is the Sun a planet
is Paris in Germany
is the Moon made of cheese
do fish have feathers
can elephants fly
is a spider a bird
is the sky usually green
do cats lay eggs
is ice hotter than fire
is gold a plant
do snakes have legs
is Africa a city
is two larger than nine
is eight an odd number
do trees have eyes
is a dolphin a fish
do cows eat meat
does a triangle have five sides
is Tokyo the capital of Brazil
is salt sweet
can a stone swim
are all mushrooms safe to eat
is London in Italy
does a week have nine days
is a potato a fruit that grows on trees
can people breathe under water without help
is the Earth flat
do penguins live in the desert
is a bat a bird
is a violin a vegetable
is Mount Everest in Africa
do horses have six legs
is the Atlantic a mountain
do humans have three hands
is Spanish a kind of animal
is summer the coldest season
is glass made from milk
does a car run on orange juice
is a mouse larger than an elephant
is Australia in Europe
is iron softer than butter
does the Sun orbit the Earth
is basketball played with a bat
do dogs have wings
is the number zero larger than ten
is a hammer a fruit
is coal white
do whales live in trees
is the Sahara a lake
is Monday a month
is a piano a kind of bread
does rain fall from the ground to the sky
is a shark a mammal
is lead lighter than air
did dinosaurs drive cars
is the Great Wall in Canada
does an ant weigh more than a person
is blood blue when it leaves the body
is an airplane slower than a snail
is Shakespeare a river
"""

CONTINENTS = """
Algeria: Africa, Angola: Africa, Benin: Africa, Botswana: Africa, Burkina Faso: Africa, Cameroon: Africa, Chad: Africa,
Ethiopia: Africa, Gabon: Africa, Ghana: Africa, Guinea: Africa, Kenya: Africa, Liberia: Africa, Libya: Africa,
Malawi: Africa, Mali: Africa, Morocco: Africa, Mozambique: Africa, Namibia: Africa, Niger: Africa, Nigeria: Africa,
Rwanda: Africa, Senegal: Africa, Somalia: Africa, Tunisia: Africa, Uganda: Africa, Zambia: Africa, Zimbabwe: Africa,
Afghanistan: Asia, Bangladesh: Asia, Bhutan: Asia, Cambodia: Asia, China: Asia, India: Asia, Iran: Asia, Iraq: Asia,
Israel: Asia, Japan: Asia, Jordan: Asia, Kuwait: Asia, Laos: Asia, Lebanon: Asia, Malaysia: Asia, Mongolia: Asia,
Myanmar: Asia, Nepal: Asia, North Korea: Asia, Oman: Asia, Pakistan: Asia, Qatar: Asia, Saudi Arabia: Asia,
Singapore: Asia, South Korea: Asia, Sri Lanka: Asia, Syria: Asia, Taiwan: Asia, Thailand: Asia, Vietnam: Asia,
Yemen: Asia, Albania: Europe, Austria: Europe, Belarus: Europe, Belgium: Europe, Bulgaria: Europe, Croatia: Europe,
the Czech Republic: Europe, Denmark: Europe, Estonia: Europe, Finland: Europe, France: Europe, Germany: Europe,
Greece: Europe, Hungary: Europe, Iceland: Europe, Ireland: Europe, Italy: Europe, Latvia: Europe, Lithuania: Europe,
Luxembourg: Europe, Moldova: Europe, the Netherlands: Europe, Norway: Europe, Poland: Europe, Portugal: Europe,
Romania: Europe, Serbia: Europe, Slovakia: Europe, Slovenia: Europe, Spain: Europe, Sweden: Europe,
Switzerland: Europe, Ukraine: Europe, Argentina: South America, Bolivia: South America, Brazil: South America,
Chile: South America, Colombia: South America, Ecuador: South America, Guyana: South America,
Paraguay: South America, Peru: South America, Suriname: South America, Uruguay: South America,
Venezuela: South America, Canada: North America, Costa Rica: North America, Cuba: North America,
El Salvador: North America, Guatemala: North America, Haiti: North America, Honduras: North America,
Jamaica: North America, Mexico: North America, Nicaragua: North America, the United States: North America
"""

LETTER_WORDS = """
garden apple window mountain river yellow kitchen doctor elephant ocean butter candle dragon engine forest guitar
hammer island jacket kettle lemon market needle orange pencil rabbit silver ticket umbrella violin winter zebra
bottle castle dinner eagle flower ginger honey insect jungle lantern mirror notebook onion parrot rocket summer
tiger uncle valley wagon yogurt zipper blanket camera desert envelope feather glove harbor iron jewel kingdom
ladder magnet nurse oven planet ribbon shadow tunnel village whistle button carpet donkey evening finger goose
hospital ink juice kite leather monkey night owl pepper raincoat saddle tractor vegetable wheel yarn bridge cotton
daisy emerald fountain grape helmet idea jelly
"""

SENTIMENTS = {
    "positive": """
I loved every minute of this film.
The food was delicious and the staff were kind.
Best purchase I have made this year.
My children adore this book.
The room was spotless and the view was wonderful.
It works perfectly and was easy to set up.
A brilliant performance from start to finish.
I would happily come back again.
The battery lasts all day, and I am very pleased.
What a charming little cafe!
The driver was friendly and arrived early.
This blender is quiet, fast and well made.
I laughed until I cried; a wonderful comedy.
Great value for the price.
The guide was excellent and answered all our questions.
These shoes are so comfortable that I bought a second pair.
An inspiring story, beautifully told.
The soup was the best I have ever tasted.
Fast delivery and lovely packaging.
The concert was amazing.
My skin feels fantastic since I began using this cream.
The teacher made the subject fun and clear.
A superb camera with stunning pictures.
The garden is gorgeous and so peaceful.
I am thrilled with the result.
Their customer service solved my problem in minutes.
The bed was soft and I slept wonderfully.
This game is addictive in the best way.
Highly recommended to everyone.
The cake was moist, rich and heavenly.
A joy to read.
The repair was quick and the price was fair.
The new version is a big improvement.
I was impressed by how light and strong it is.
The show exceeded all my hopes.
The hotel welcomed us warmly.
A lovely gift that made my mother smile.
The headphones sound fantastic.
The museum was fascinating, and I learned a lot.
Everything arrived in perfect condition.
We had a fantastic evening.
The pizza was hot, crisp and full of flavor.
This app saves me hours every week.
A delightful surprise.
The colors are vivid and beautiful.
I feel healthier and happier after this course.
The waiter was attentive and cheerful.
This is my favorite restaurant in town.
The lawyer was honest and very helpful.
A thoughtful and moving novel.
""",
    "negative": """
I hated every minute of this film.
The food was cold and the staff were rude.
Worst purchase I have made this year.
My children were bored by this book.
The room was filthy and it smelled awful.
It broke after two days.
A terrible performance from start to finish.
I will never come back again.
The battery dies within an hour, and I am very disappointed.
What a dirty, overpriced cafe!
The driver was unfriendly and arrived late.
This blender is noisy, slow and badly made.
I was bored to tears; a dreadful comedy.
A complete waste of money.
The guide was useless and ignored our questions.
These shoes hurt so much that I threw them away.
A dull story, poorly told.
The soup was the worst I have ever tasted.
Slow delivery and damaged packaging.
The concert was a disaster.
My skin turned red and sore after I used this cream.
The teacher made the subject boring and confusing.
A poor camera with blurry pictures.
The garden is neglected and full of trash.
I am unhappy with the result.
Their customer service ignored my problem for weeks.
The bed was hard and I slept horribly.
This game is frustrating and full of bugs.
Avoid this place at all costs.
The cake was dry, stale and tasteless.
A chore to read.
The repair was slow and the price was outrageous.
The new version is a big step backward.
I was annoyed by how heavy and fragile it is.
The show failed all my hopes.
The hotel treated us badly.
An ugly gift that made my mother frown.
The headphones sound awful.
The museum was tedious, and I learned nothing.
Everything arrived broken.
We had a miserable evening.
The pizza was cold, soggy and bland.
This app wastes hours of my time every week.
A nasty surprise.
The colors are faded and ugly.
I feel worse and more tired after this course.
The waiter was careless and grumpy.
This is the worst restaurant in town.
The lawyer was dishonest and no help at all.
A shallow and annoying novel.
""",
}

LIVING = """
a lion: animal, a tiger: animal, a rabbit: animal, a frog: animal, a shark: animal, an eagle: animal, a snake: animal,
a horse: animal, a cow: animal, a pig: animal, a goat: animal, a whale: animal, a dolphin: animal, a penguin: animal,
an owl: animal, a bear: animal, a wolf: animal, a fox: animal, a deer: animal, a camel: animal, a kangaroo: animal,
a monkey: animal, an octopus: animal, a crab: animal, a lobster: animal, a bee: animal, an ant: animal,
a spider: animal, a butterfly: animal, a snail: animal, a turtle: animal, a crocodile: animal, a parrot: animal,
a chicken: animal, a duck: animal, a hamster: animal, a squirrel: animal, a hedgehog: animal, a zebra: animal,
a giraffe: animal, a leopard: animal, a salmon: animal, a tuna: animal, a moth: animal, a beetle: animal,
a lizard: animal, a donkey: animal, a seal: animal, a raven: animal, a jellyfish: animal, a rose: plant,
a tulip: plant, a daisy: plant, a sunflower: plant, an oak: plant, a pine: plant, a maple: plant, a birch: plant,
a willow: plant, a fern: plant, a cactus: plant, an orchid: plant, a lily: plant, a daffodil: plant, lavender: plant,
basil: plant, mint: plant, parsley: plant, rosemary: plant, thyme: plant, wheat: plant, rice: plant, barley: plant,
corn: plant, a potato: plant, a carrot: plant, a tomato: plant, lettuce: plant, spinach: plant, a cabbage: plant,
broccoli: plant, an onion: plant, garlic: plant, a palm tree: plant, a cedar: plant, ivy: plant, bamboo: plant,
clover: plant, grass: plant, a dandelion: plant, a banana tree: plant, a strawberry: plant, a blueberry bush: plant,
a grapevine: plant, cotton: plant, a poppy: plant, a violet: plant, a magnolia: plant, jasmine: plant, a thistle: plant
"""

# The language that most people speak; no country whose language is asked among the questions of knowledge.
LANGUAGES = """
Albania: Albanian, Algeria: Arabic, Argentina: Spanish, Armenia: Armenian, Australia: English,
Azerbaijan: Azerbaijani/Azeri, Bangladesh: Bengali/Bangla, Bolivia: Spanish, Bulgaria: Bulgarian, Cambodia: Khmer,
Chile: Spanish, China: Chinese/Mandarin, Colombia: Spanish, Costa Rica: Spanish, Croatia: Croatian, Cuba: Spanish,
the Czech Republic: Czech, Denmark: Danish, the Dominican Republic: Spanish, Ecuador: Spanish, El Salvador: Spanish,
England: English, Estonia: Estonian, Finland: Finnish, France: French, Greece: Greek, Guatemala: Spanish,
Honduras: Spanish, Hungary: Hungarian, Iceland: Icelandic, Iran: Persian/Farsi, Iraq: Arabic, Ireland: English,
Israel: Hebrew, Italy: Italian, Jordan: Arabic, Kuwait: Arabic, Laos: Lao/Laotian, Latvia: Latvian, Lebanon: Arabic,
Libya: Arabic, Liechtenstein: German, Lithuania: Lithuanian, Moldova: Romanian/Moldovan, Mongolia: Mongolian,
Morocco: Arabic, Myanmar: Burmese, Nepal: Nepali, the Netherlands: Dutch, New Zealand: English, Nicaragua: Spanish,
North Korea: Korean, Norway: Norwegian, Oman: Arabic, Panama: Spanish, Peru: Spanish, Poland: Polish,
Portugal: Portuguese, Qatar: Arabic, Romania: Romanian, Russia: Russian, Saudi Arabia: Arabic, Serbia: Serbian,
Slovakia: Slovak, Slovenia: Slovene/Slovenian, South Korea: Korean, Spain: Spanish, Sudan: Arabic, Sweden: Swedish,
Syria: Arabic, Thailand: Thai, Tunisia: Arabic, Turkey: Turkish, Ukraine: Ukrainian, the United Kingdom: English,
the United States: English, Uruguay: Spanish, Uzbekistan: Uzbek, Venezuela: Spanish, Vietnam: Vietnamese,
Yemen: Arabic
"""
