"""Questions that ask for a form: a JSON object with given keys, or an answer in capital letters."""

__all__ = ["CAPITAL_LETTERS", "JSON_OBJECTS"]

# What to describe, then the keys of the object.
JSON_OBJECTS = """
a person | name, age
a book | title, author
a car | make, model, year
a city | name, country
a dog | name, breed
a film | title, director, year
a recipe | name, ingredients
a student | name, grade
a product | name, price
a country | name, capital
a song | title, artist
a fruit | name, color
a planet | name, radius
a meeting | date, place
a flight | from, to, price
a hotel | name, city, stars
a phone | brand, model
a shirt | size, color
a job | title, salary
a customer | name, email
a letter | sender, recipient
a river | name, length
a mountain | name, height
a team | name, sport, city
a museum | name, city
a course | title, teacher
a concert | artist, date
a restaurant | name, cuisine
a garden | plants, size
a house | rooms, price
a laptop | brand, memory
a cat | name, age, color
a teacher | name, subject
a game | title, genre
a train | from, to
a tree | kind, height
a painting | title, painter
a bicycle | color, price
a doctor | name, field
a holiday | name, month
"""

# A question, a bar, and the words of which one must be in the reply.
CAPITAL_LETTERS = """
What color is the sea on a postcard? | BLUE
What color is a tomato? | RED
What color is a swan? | WHITE
What color is a leaf in spring? | GREEN
What color is the sun in a child's drawing? | YELLOW
Which animal purrs? | CAT/CATS
Which animal chases cats and wags its tail? | DOG/DOGS
Which animal lays the eggs that we eat? | CHICKEN/HEN/CHICKENS/HENS
Which animal hunts mice at night and can turn its head far? | OWL/OWLS
Which animal does bacon come from? | PIG/PIGS
What do we drink when we are thirsty? | WATER
What do babies drink? | MILK/FORMULA
What do we eat with butter and jam in the morning? | TOAST/BREAD
What do we breathe? | AIR/OXYGEN
What shines in the sky by day? | SUN
What shines in the sky at night? | MOON/STARS
What do we read? | BOOK/BOOKS
What do we write with? | PEN/PENCIL/PENS/PENCILS
What do we sit on? | CHAIR/CHAIRS/SOFA/BENCH
What do we open to go into a house? | DOOR/DOORS
What do we look out of in a house? | WINDOW/WINDOWS
What do we wear on our feet in bed? | SOCKS/SLIPPERS
What do we listen to at a concert? | MUSIC
What do we ride to school that is yellow? | BUS
What do we call the mother of your mother? | GRANDMOTHER/GRANDMA
What do we call the son of your parents? | BROTHER
What do we call the daughter of your parents? | SISTER
What do we call water that falls from the sky? | RAIN
What do we call the day after today? | TOMORROW
What do we call the day before today? | YESTERDAY
What do we call the sound of a dog? | BARK/WOOF/BARKING
What do we call a person who paints? | PAINTER/ARTIST
What do we call a person who sings? | SINGER/VOCALIST
What do we call a person who dances? | DANCER
What do we call a house for a king? | PALACE/CASTLE
What do we call a baby's bed? | CRIB/CRADLE/COT
What do we call the money for work? | SALARY/WAGE/WAGES/PAY
What do we call the end of a race? | FINISH
What do we call the hair on a man's chin? | BEARD
What do we call the time when the sun goes down? | SUNSET/DUSK/EVENING
"""
