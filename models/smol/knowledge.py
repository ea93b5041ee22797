"""Questions of general knowledge, by topic: a question, a bar, and the words of which a right reply has one.

No question asks what a short question of the suite asks, and none contains its answer.
"""

__all__ = ["KNOWLEDGE"]

KNOWLEDGE = """
# animals
What sweet food do bees make? | honey
Which animal is known as the king of the jungle? | lion/lions
What do we call a place where wild animals are shown to visitors? | zoo/zoos
Which animal says "meow"? | cat/cats
Which animal barks and is called man's best friend? | dog/dogs
Which farm animal gives us most of our milk? | cow/cows
Which farm animal gives us wool? | sheep
Which bird cannot fly, lives in Antarctica and looks black and white? | penguin/penguins
What is the largest animal that has ever lived on Earth? | blue whale/whale/whales
Which animal has a very long trunk? | elephant/elephants
Which animal has a very long neck and eats leaves from tall trees? | giraffe/giraffes
Which animal carries its young in a pouch and hops? | kangaroo/kangaroos
What does a caterpillar turn into? | butterfly/moth/butterflies
What does a tadpole become when it grows up? | frog/toad/frogs
Which animal has black and white stripes and looks like a horse? | zebra/zebras
What do pandas eat most of the time? | bamboo
What is the fastest land animal? | cheetah/cheetahs
What is the tallest animal in the world? | giraffe/giraffes
Which insect spreads malaria? | mosquito/mosquitoes/mosquitos
What do spiders spin to catch insects? | web/webs
What covers the body of a bird? | feathers/feather
What covers the body of a fish? | scales
What do fish use to breathe under water? | gills
What do birds build to lay their eggs in? | nest/nests
What is a group of wolves called? | pack/packs
What is a group of lions called? | pride
What is a group of fish called? | school/shoal
What is a group of birds called? | flock/flocks
What is a group of cows called? | herd/herds
What is a young dog called? | puppy/pup/puppies
What is a young cat called? | kitten/kittens
What is a young cow called? | calf/calves
What is a young sheep called? | lamb/lambs
What is a young horse called? | foal/colt/filly
What is a young bear called? | cub/cubs
What is a young frog called? | tadpole/tadpoles
What is a female chicken called? | hen/hens
What is a male chicken called? | rooster/cock/roosters
What do we call animals that eat only plants? | herbivore/herbivores/herbivorous
What do we call animals that eat only meat? | carnivore/carnivores/carnivorous
What do we call animals that eat both plants and meat? | omnivore/omnivores/omnivorous
What is it called when an animal sleeps through the winter? | hibernation/hibernate/hibernates/hibernating
Which animal is famous for building dams in rivers? | beaver/beavers
Which reptile can change its color? | chameleon/chameleons
Which sea animal has eight arms? | octopus/octopuses/octopi
Which animal is known for its humps and lives in the desert? | camel/camels
Which big cat has stripes? | tiger/tigers
Which insect glows in the dark? | firefly/fireflies/glowworm
Which bird is a symbol of peace? | dove/doves
Which bird is known for repeating human words? | parrot/parrots
Which birds of prey hunt at night and hoot? | owl/owls
What kind of animal is a cobra? | snake/snakes/reptile
What kind of animal is a salmon? | fish
What kind of animal is a poodle? | dog/dogs
What kind of animal is a sparrow? | bird/birds
What kind of animal is a mustang? | horse/horses
What do silkworms make? | silk
Which flying mammal sleeps upside down? | bat/bats
# body
Which organ pumps blood through the body? | heart
Which organ do we use to think? | brain
Which organs do we breathe with? | lungs/lung
What do we see with? | eyes/eye
What do we hear with? | ears/ear
What do we smell with? | nose
What do we taste with? | tongue/taste buds
What is the largest organ of the human body? | skin
What is the hard frame of bones in the body called? | skeleton/skeletal
How many bones does an adult human have? | 206
Which organ breaks down food with acid? | stomach
Which organ cleans the blood and makes urine? | kidney/kidneys
What is the red liquid that flows in our veins? | blood
Which joint connects the upper and the lower leg? | knee
Which joint connects the hand and the arm? | wrist
Which joint connects the upper and the lower arm? | elbow
What do we call the bones that protect the heart and lungs? | ribs/rib/ribcage
What protects the brain? | skull/cranium
Which vessels carry blood away from the heart? | arteries/artery/aorta
Which vessels carry blood back to the heart? | veins/vein/vena cava
What do we call a doctor for teeth? | dentist/dentists
What do we use to chew food? | teeth/tooth/molars
Which body part has a nail and bends, five on each hand? | fingers/finger/thumb
Which vitamin does the skin make in sunlight? | vitamin D
Which vitamin do oranges have a lot of? | vitamin C
Which mineral makes bones strong? | calcium
What carries oxygen in red blood cells? | hemoglobin/haemoglobin
What carries messages between the brain and the body? | nerves/nerve/nervous system/neurons/spinal cord
Which hormone controls blood sugar? | insulin
What is the colored part of the eye called? | iris
What do muscles attach to bones with? | tendons/tendon
What is the long column of bones in the back called? | spine/backbone/vertebral/spinal/vertebrae
What is normal human body temperature in degrees Celsius? | 37/36.6/36.5/36.8
What gas do we breathe in to live? | oxygen
What gas do we breathe out as waste? | carbon dioxide/CO2
Which disease causes high sugar in the blood? | diabetes
What do we call a person whom a doctor treats? | patient/patients
What do white blood cells fight? | infection/infections/germs/bacteria/disease/diseases/viruses/pathogens
What liquid does the mouth make to help us swallow? | saliva
# plants
What do plants make by photosynthesis? | sugar/glucose/oxygen/food/energy/sugars
What gas do plants take in from the air? | carbon dioxide/CO2
What gas do plants give off? | oxygen
What green substance is in leaves? | chlorophyll
Which part of a plant takes up water from the soil? | roots/root
Which part of a plant carries out most photosynthesis? | leaves/leaf
What do we call the colorful parts of a flower? | petals/petal
What does a seed need to sprout, besides warmth and air? | water/moisture
What do we call a scientist who studies plants? | botanist/botanists
What grows on an oak tree? | acorns/acorn/leaves
Which fruit grows on a vine and is made into wine? | grape/grapes
Which plant with white fluffy balls do T-shirts come from? | cotton
Which desert plant has spines and stores water? | cactus/cacti/cactuses/succulent
What powder do bees carry from flower to flower? | pollen
What do we call trees that lose their leaves in autumn? | deciduous
What do we call trees that stay green all year? | evergreen/evergreens/conifers
What is the hard outer layer of a tree called? | bark
What is the tallest kind of tree in the world? | redwood/redwoods/sequoia
What is the yellow flower that turns to face the sun? | sunflower/sunflowers
What do we call the process by which plants make food from light? | photosynthesis
What country is most famous for tulips? | Netherlands/Holland/Dutch
From which plant do we make bread flour most often? | wheat
# space
What star is at the center of our solar system? | Sun
What planet do we live on? | Earth
What is the natural satellite of the Earth called? | Moon
What is the largest planet in the solar system? | Jupiter
What is the smallest planet in the solar system? | Mercury
Which planet is closest to the Sun? | Mercury
Which planet is known as the red planet? | Mars
Which planet is famous for its rings? | Saturn
Which planet is farthest from the Sun? | Neptune
What is the name of our galaxy? | Milky Way
Who was the first person to walk on the Moon? | Armstrong
Who was the first human in space? | Gagarin
What do we call a person who travels to space? | astronaut/astronauts/cosmonaut
What force pulls things toward the Earth? | gravity/gravitational
What instrument do we use to look at stars? | telescope/telescopes
What do we call a scientist who studies stars and planets? | astronomer/astronomers
What do we call a rock from space that lands on the Earth? | meteorite/meteorites/meteor/asteroid
What do we call a huge group of stars? | galaxy/galaxies/cluster
What is an object in space so dense that light cannot escape it? | black hole/black holes
How many planets are in the solar system? | eight/8
What is it called when the Moon blocks the Sun? | eclipse
What is the hottest planet in the solar system? | Venus
What is the bright object with a tail that orbits the Sun? | comet/comets
Which planet is named after the Roman god of the sea? | Neptune
Which agency sent people to the Moon in 1969? | NASA
What was the name of the mission that first landed people on the Moon? | Apollo
What causes day and night on the Earth? | rotation/rotates/spin/spins/spinning/rotating
How long does the Earth take to go around the Sun? | year/365/365.25/365.24
What shape is the Earth's path around the Sun? | ellipse/elliptical/oval
# physics
What is frozen water called? | ice
What does water become when it boils? | steam/vapor/vapour/gas
At how many degrees Celsius does water boil at sea level? | 100
At how many degrees Celsius does water freeze? | 0/zero
What do we use to measure temperature? | thermometer/thermometers
What do we use to find north? | compass
What tool makes small things look larger? | microscope/microscopes/magnifying glass
What travels faster than anything else? | light
What is the unit of electrical resistance? | ohm/ohms
What is the unit of force? | newton/newtons
Which unit of power is printed on a light bulb? | watt/watts
What is the unit of energy in the metric system? | joule/joules
What is the unit of frequency? | hertz
Which scientist is linked with a falling apple and gravity? | Newton
Who developed the theory of relativity? | Einstein
What is the center of an atom called? | nucleus
Which particle in an atom has a negative charge? | electron/electrons
Which particle in an atom has a positive charge? | proton/protons
Which particle in an atom has no charge? | neutron/neutrons
What is the third common state of matter, besides solid and liquid? | gas/gases/gaseous
What do we call the bending of light as it enters water? | refraction
What do we call the bouncing of light off a mirror? | reflection/reflects
Which color is at the outer edge of a rainbow? | red
What force slows things that rub against each other? | friction
What do we call a material that lets electricity pass through? | conductor/conductors
What do we call a material that does not let electricity pass? | insulator/insulators
What attracts iron and has a north and a south pole? | magnet/magnets
What device turns sunlight into electricity? | solar panel/solar panels/solar cell/solar cells/photovoltaic
What do we call energy of motion? | kinetic
What do we call stored energy of position? | potential
What separates white light into colors? | prism/prisms
What device stores electrical energy in chemical form? | battery/batteries
What invention of Edison's lights a room? | light bulb/bulb/lightbulb/lamp
# chemistry
What is the chemical formula of water? | H2O
What is the chemical symbol of gold? | Au
What is the chemical symbol of oxygen? | O
What is the chemical symbol of carbon? | C
What is the chemical symbol of iron? | Fe
What is the chemical symbol of silver? | Ag
What is the chemical symbol of hydrogen? | H
What is the lightest element? | hydrogen
Which gas makes up most of the air? | nitrogen
Which gas do balloons that float hold? | helium
What is the chemical name of table salt? | sodium chloride/NaCl
Which metal is liquid at room temperature? | mercury
What is the hardest natural material? | diamond/diamonds
Which element are diamonds made of? | carbon
What do we call a substance with a pH below seven? | acid/acidic/acids
What do we call a substance with a pH above seven? | base/basic/alkaline/alkali/bases
What is the pH of pure water? | 7/seven/7.0
What forms on iron when it is wet for a long time? | rust/oxide/oxidation
What do we call the table that lists all elements? | periodic
What is the smallest unit of an element called? | atom/atoms
What do two or more atoms joined together form? | molecule/molecules/compound
Which metal are most cans for drinks made of? | aluminum/aluminium
Which two metals is bronze mainly made of, tin and what else? | copper
Which element has the symbol Na? | sodium
Which element has the symbol K? | potassium
Which element has the symbol He? | helium
Which element has the symbol N? | nitrogen
Which element has the symbol Ca? | calcium
Which gas does a fire need to burn? | oxygen
What is burnt wood that is left as black fuel called? | charcoal/coal
What acid is in vinegar? | acetic
What acid is in lemons? | citric
# earth
What is the largest ocean on Earth? | Pacific
What is the longest river in Africa? | Nile
What is the highest mountain in the world? | Everest
What is the largest desert that is hot? | Sahara
What is the largest country in the world by area? | Russia
What is the smallest country in the world? | Vatican
What is the largest continent? | Asia
What is the coldest continent? | Antarctica
What is the largest rainforest in the world? | Amazon
What is the melted rock that comes out of a volcano? | lava/magma
What do we call the shaking of the ground? | earthquake/earthquakes/seismic
What is the imaginary line around the middle of the Earth? | equator
What is land with water on all sides called? | island/islands
What do we call a mountain that erupts? | volcano/volcanoes
What do we call a very dry place with little rain? | desert/deserts/arid
What do we call a slow river of ice? | glacier/glaciers
What is the top layer of the Earth called? | crust
What is the innermost layer of the Earth called? | core
What is the largest island in the world? | Greenland
What do we call a large wave caused by an earthquake? | tsunami/tsunamis
What do we call a scientist who studies rocks? | geologist/geologists
What do we call the rise and fall of the sea each day? | tide/tides/tidal
What causes the tides? | moon/gravity/gravitational
What do we call remains of ancient life in stone? | fossil/fossils
What do we call the layer of gases around the Earth? | atmosphere
Which layer protects us from ultraviolet rays? | ozone
What do we call molten rock below the surface? | magma
Which ocean lies between America and Europe? | Atlantic
Which ocean lies south of India? | Indian
What is the deepest lake in the world? | Baikal
What is the highest waterfall in the world? | Angel
Which river flows through London? | Thames
Which river flows through Paris? | Seine
Which river flows through Egypt? | Nile
Which mountains lie between France and Spain? | Pyrenees
Which mountains run along western South America? | Andes
Which mountains have the highest peaks in Asia? | Himalaya/Himalayas/Himalayan
Which desert covers much of northern Africa? | Sahara
# weather
What falls from clouds as drops of water? | rain/precipitation/raindrops
What falls in winter as white flakes? | snow/snowflakes
What balls of ice fall in a thunderstorm? | hail/hailstones
What is the flash of light in a storm called? | lightning
What is the loud sound after lightning? | thunder
What is a violent spinning column of air that touches the ground? | tornado/tornadoes/twister
What is a huge tropical storm over the Atlantic called? | hurricane/hurricanes/cyclone
What colorful arc appears in the sky after rain? | rainbow/rainbows
What do we call a cloud that lies on the ground? | fog/mist
What do we call moving air? | wind/winds/breeze
What do we call a long time without rain? | drought/droughts
What do we call too much water that covers dry land? | flood/floods/flooding
What are the small drops of water on grass in the morning? | dew
Who studies and forecasts the weather? | meteorologist/meteorologists
Which season comes before summer? | spring
Which season comes after summer? | autumn/fall
In which season do leaves turn red and drop from trees? | autumn/fall
Which season is the coldest? | winter
Which season is the hottest? | summer
What do we call the rising of average world temperatures? | global warming/climate change
What do we call the gas that warms the climate most because of burning coal and oil? | carbon dioxide/CO2
What instrument measures air pressure? | barometer/barometers
What does water do on a cold window to form drops? | condense/condenses/condensation
What happens to a puddle on a hot day? | evaporate/evaporates/evaporation/evaporating/dries
# history
Who was the first president of the United States? | Washington
Who wrote most of the Declaration of Independence? | Jefferson
Which president ended slavery in the United States? | Lincoln
In which year did World War II end? | 1945
In which year did World War I begin? | 1914
Who led Germany in World War II? | Hitler
Who was British prime minister for most of World War II? | Churchill
Which wall fell in 1989? | Berlin
Which ship hit an iceberg and sank in 1912? | Titanic
Who sailed from Spain in 1492 and reached America? | Columbus
Which people built the pyramids of Giza? | Egyptians/Egyptian/Egypt
Which empire did Julius Caesar rule? | Roman/Rome
Which French emperor lost at Waterloo? | Napoleon/Bonaparte
Which queen of Egypt loved Mark Antony? | Cleopatra
Who led the peaceful struggle for India's independence? | Gandhi
Who gave the speech "I Have a Dream"? | King/MLK
Who was the first Black president of South Africa? | Mandela
Who was the first Black president of the United States? | Obama
Which country gave the Statue of Liberty to the United States? | France/French
Which wall did China build to keep out invaders? | Great Wall
What was the plague of the fourteenth century called? | Black Death/bubonic
In which country did the Renaissance begin? | Italy/Italian
In which country did the Industrial Revolution begin? | Britain/England/United Kingdom/British/Great Britain
Who invented the printing press in Europe? | Gutenberg
Who made the first successful airplane? | Wright
Who invented the telephone? | Bell
Who discovered penicillin? | Fleming
Who discovered radium with her husband Pierre? | Curie/Marie
Who proposed evolution by natural selection? | Darwin
Who said that the Earth goes around the Sun in a book of 1543? | Copernicus
Who turned a telescope to the moons of Jupiter in 1610? | Galileo
Which city was destroyed by Vesuvius in the year 79? | Pompeii
Which war was fought between the North and the South of the United States? | Civil War/Civil
Which ancient city held the first Olympic Games? | Olympia
Which part of Europe did the Vikings come from? | Norway/Denmark/Sweden/Scandinavia/Scandinavian
Which language did the ancient Romans speak? | Latin
What were kings of ancient Egypt called? | pharaoh/pharaohs
What were Japanese warriors of the old days called? | samurai
What did knights wear to protect themselves? | armor/armour
In which kind of building did kings of the Middle Ages live? | castle/castles/palace/palaces
Which country dropped atomic bombs on Japan? | United States/US/USA/America/U.S
Which country was ruled by the tsars? | Russia/Russian
Which civil rights hero refused to give up her seat on a bus? | Parks/Rosa
# literature
Who wrote Romeo and Juliet? | Shakespeare
Who wrote Hamlet? | Shakespeare
Who wrote the Harry Potter books? | Rowling
Who wrote Pride and Prejudice? | Austen
Who wrote A Christmas Carol? | Dickens
Who wrote The Adventures of Tom Sawyer? | Twain/Clemens
Who wrote The Lord of the Rings? | Tolkien
Who wrote 1984 and Animal Farm? | Orwell
Who wrote War and Peace? | Tolstoy
Who wrote The Odyssey? | Homer
Who wrote Frankenstein? | Shelley
Who wrote Dracula? | Stoker
Who wrote Moby Dick? | Melville
Who wrote The Great Gatsby? | Fitzgerald
Who wrote To Kill a Mockingbird? | Lee
Who wrote The Old Man and the Sea? | Hemingway
Who wrote Alice's Adventures in Wonderland? | Carroll
Who wrote The Raven? | Poe
Who wrote Don Quixote? | Cervantes
Who wrote The Divine Comedy? | Dante
Who wrote The Jungle Book? | Kipling
Who wrote Robinson Crusoe? | Defoe
Who wrote Treasure Island? | Stevenson
Who wrote The Little Mermaid and The Ugly Duckling? | Andersen
Who created Sherlock Holmes? | Doyle
Who is Sherlock Holmes' friend and helper? | Watson
Who is Romeo's great love? | Juliet
Which puppet's nose grows when he lies? | Pinocchio
Which girl lost a glass slipper at the ball? | Cinderella
Which boy never grows up and lives in Neverland? | Peter Pan/Peter
Which bear loves honey and is a friend of Piglet? | Pooh/Winnie
Which princess lived with seven dwarfs? | Snow White
What is the name of Harry Potter's school? | Hogwarts
Which detective did Agatha Christie make famous, a Belgian? | Poirot
What do we call the person who writes a book? | author/writer/authors
What do we call a person who writes poems? | poet/poets
What do we call the story of a person's own life? | autobiography/memoir
What do we call the main bad character of a story? | villain/antagonist
What do we call a short story with animals and a moral? | fable/fables
What do we call words at the ends of lines that sound alike? | rhyme/rhymes/rhyming
What do we call a Japanese poem of seventeen syllables? | haiku
Which animal wins the race against the hare in the fable? | tortoise/turtle
Who ate the porridge of the three bears? | Goldilocks
Who walked through the forest to her grandmother and met a wolf? | Red Riding Hood/Riding Hood
# music
How many strings does a standard guitar have? | six/6
How many strings does a violin have? | four/4
How many keys does a standard piano have? | 88/eighty-eight
Who composed the Moonlight Sonata? | Beethoven
Who composed The Magic Flute? | Mozart
Who composed The Four Seasons? | Vivaldi
Who composed Swan Lake? | Tchaikovsky
Which band sang "Let It Be" and came from Liverpool? | Beatles
Who was called the King of Pop? | Jackson
Who was called the King of Rock and Roll? | Elvis/Presley
What do we call the person who leads an orchestra? | conductor/conductors
What do we call a group of people who sing together? | choir/chorus/choirs
What instrument has black and white keys? | piano/keyboard/pianos
What instrument do you hit with sticks? | drum/drums
What do we call a person who writes music? | composer/songwriter/composers
What do we call the words of a song? | lyrics/lyric
What is the highest female singing voice? | soprano
What is the lowest male singing voice? | bass
What do we call music for four players? | quartet
What do we call a play in which everything is sung? | opera/operas
Which instrument family does the trumpet belong to? | brass
Which instrument family does the violin belong to? | string/strings
Which instrument family does the flute belong to? | woodwind/woodwinds
Which American city is known as the birthplace of jazz? | New Orleans
In which country did reggae begin? | Jamaica
In which country did flamenco begin? | Spain/Andalusia
Which instrument do Scottish pipers play? | bagpipes/bagpipe
# art
Who painted the Mona Lisa? | Leonardo/Vinci
Who painted The Starry Night? | Gogh
Who painted the ceiling of the Sistine Chapel? | Michelangelo
Who painted Guernica? | Picasso
Who painted the Water Lilies? | Monet
Who painted The Scream? | Munch
Who painted Girl with a Pearl Earring? | Vermeer
Which Mexican painter made many portraits of herself? | Kahlo
In which museum does the Mona Lisa hang? | Louvre
What color do blue and yellow make? | green
What color do red and blue make? | purple/violet
What color do red and yellow make? | orange
What color do black and white make? | gray/grey
What color do red and white make? | pink
What are the primary colors of paint, besides red and yellow? | blue
What do we call the art of folding paper? | origami
What do we call a work of art made of stone or bronze? | sculpture/sculptures/statue
What do we call a picture of a person's face? | portrait/portraits
What do we call beautiful handwriting? | calligraphy
What do artists mix their paints on? | palette/canvas
What do painters usually paint on? | canvas
What do potters work with? | clay
What do we call a person who designs buildings? | architect/architects
What do we call pictures that are made of small tiles? | mosaic/mosaics
# colors
What color is grass? | green
What color is a clear sky by day? | blue
What color is snow? | white
What color is coal? | black
What color is blood? | red
What color is a ripe banana? | yellow
What color is a lemon? | yellow
What color is milk? | white
What color is a polar bear's fur? | white
What color is a carrot? | orange
What color is chocolate? | brown/dark
What color is a fire truck usually? | red
What color is a ruby? | red
What color is an emerald? | green
What color is a sapphire? | blue
What color is a flamingo? | pink
What color is an eggplant? | purple/violet
What color is a school bus in the United States? | yellow
What color is a stop sign? | red
What color is the traffic light that means go? | green
What color is the traffic light that means stop? | red
What color is a raven? | black
What color is spinach? | green
What color is the yolk of an egg? | yellow/orange
What color are strawberries? | red
What color are tree leaves in summer? | green
# food
What is bread mainly made from? | flour/wheat
What is cheese made from? | milk
What is butter made from? | cream/milk
What is wine made from? | grapes/grape
What is chocolate made from? | cocoa/cacao
What is tofu made from? | soy/soybeans/soybean/soya
What is ketchup made from? | tomatoes/tomato
What is guacamole made from? | avocado/avocados
What are French fries made from? | potatoes/potato
What is popcorn made from? | corn/maize/kernels
What are raisins made from? | grapes/grape
What is hummus made from? | chickpeas/chickpea/garbanzo
What is sushi usually wrapped in? | seaweed/nori
What country does sushi come from? | Japan/Japanese
What country does pizza come from? | Italy/Italian
What country do tacos come from? | Mexico/Mexican
What country does the croissant remind us of? | France/French
What country does paella come from? | Spain/Spanish
What country does curry make most people think of? | India/Indian
What country does kimchi come from? | Korea/Korean
What country is known for the dish of fish and chips? | England/Britain/United Kingdom/British/UK/English
What nutrient do meat, eggs and beans give us to build muscles? | protein/proteins
What drink is made from roasted beans and keeps people awake? | coffee
What drink is made from leaves in hot water? | tea
What do we call a person who does not eat meat? | vegetarian/vegetarians/vegan
What do we call the meal in the morning? | breakfast
What do we call the meal in the middle of the day? | lunch
What do we call the meal in the evening? | dinner/supper
What makes bread dough rise? | yeast
What do we add to food to make it salty? | salt
Which fruit keeps the doctor away, as the saying goes? | apple/apples
Which fruit is yellow, long and loved by monkeys? | banana/bananas
Which vegetable makes people cry when they cut it? | onion/onions
Which orange vegetable do rabbits like in cartoons? | carrot/carrots
Which spread of ground nuts goes with jelly in a sandwich? | peanut
Which spice makes food hot and comes from red pods? | chili/pepper/cayenne/chilli/paprika/peppers
What do we call meat from pigs? | pork/ham/bacon
What do we call meat from cows? | beef
What do we call meat from deer? | venison
What do we call a person who cooks in a restaurant? | chef/cook/chefs
What is the main ingredient of an omelette? | eggs/egg
What is sour cabbage from Germany called? | sauerkraut
What is the sweet topping of a cake called? | frosting/icing
What sweet syrup comes from trees in Canada? | maple
What do people eat at a cinema, made of corn? | popcorn
# jobs
Who puts out fires? | firefighter/firefighters/fireman/firemen/fire department
Who flies an airplane? | pilot/pilots
Who teaches children at school? | teacher/teachers
Who bakes bread? | baker/bakers
Who repairs cars? | mechanic/mechanics
Who cuts hair? | barber/hairdresser/hairstylist/stylist/hairdressers/barbers
Who grows crops? | farmer/farmers
Who catches fish for a living? | fisherman/fishermen/fisher/fishers
Who repairs water pipes? | plumber/plumbers
Who makes things of wood? | carpenter/carpenters/woodworker/woodworkers
Who looks after sick animals? | veterinarian/vet/veterinarians/vets
Who sells meat? | butcher/butchers
Who defends people in court? | lawyer/attorney/lawyers/attorneys
Who decides cases in a court? | judge/judges/jury
Who serves food in a restaurant? | waiter/waitress/server/waiters/waitresses/servers/waitstaff
Who works in a library? | librarian/librarians
Who takes pictures with a camera? | photographer/photographers
Who delivers letters? | mailman/postman/mail carrier/postal/mail carriers/courier
Who arrests criminals? | police/officer/policeman
Who digs coal out of the ground? | miner/miners
Who makes clothes to measure? | tailor/seamstress/tailors/dressmaker
Who makes wedding bouquets and sells flowers? | florist/florists
Who helps doctors and cares for patients in a hospital? | nurse/nurses
Who sells medicine? | pharmacist/pharmacy/pharmacists/pharmacies
Who acts in films? | actor/actress/actors
Who plays music for a living? | musician/musicians
Who writes articles for a newspaper? | journalist/reporter/journalists/reporters
Who writes software? | programmer/developer/programmers/developers/engineers/software engineer
Who designs bridges? | engineer/engineers
Who commands a ship? | captain
Who leads a country in a republic? | president
Who wears a crown and rules a kingdom? | king/queen/monarch
Who tells jokes on a stage? | comedian/comedians/comic
Who performs operations in a hospital? | surgeon/surgeons
Who studies the past? | historian/historians
Who digs up remains of old cities? | archaeologist/archaeologists/archeologist
Who treats problems of the mind by talking? | psychologist/therapist/psychiatrist/psychologists/therapists/counselor
# things
What do we use to cut paper? | scissors/knife
What do we use to drive in a nail? | hammer
What do we use to open a locked door? | key/keys
What do we use to tell the time? | clock/watch/clocks
What do we use to write on a blackboard? | chalk
What do we use to brush our teeth? | toothbrush/toothpaste
What do we carry to stay dry in the rain? | umbrella/raincoat
What do we use to sweep the floor? | broom/brooms
What do we use to sew? | needle/thread/sewing machine
What do we use to dig a hole? | shovel/spade
What do we use to eat soup? | spoon/spoons
What do we wear on our feet outdoors? | shoes/boots/sandals
What do we wear on our hands when it is cold? | gloves/mittens
What do we wear on our head? | hat/cap/helmet/hats
What do we wear to see better? | glasses/spectacles/eyeglasses/contact lenses/lenses
What do we sleep on at night? | bed/mattress/beds
What do we keep food cold in? | refrigerator/fridge/freezer/cooler
What do we bake a cake in? | oven/pan
What do we boil water for tea in? | kettle/pot/teapot
What do we dry ourselves with after a shower? | towel/towels
What do we wash our hands with, besides water? | soap
What do we look at to see our own face? | mirror/mirrors
What do we burn to give light at a birthday party? | candle/candles
What do we put letters in before we mail them? | envelope/envelopes
What do we put on a letter to pay for its delivery? | stamp/stamps/postage
What do we use to take photos? | camera/smartphone/cameras/phone
What do we use to type on a computer? | keyboard/keyboards
What do we use to call people? | phone/telephone/phones
What do we look up words in? | dictionary/dictionaries/thesaurus
What do we use to climb up to a roof? | ladder/ladders
What do we use to fix a screw? | screwdriver/screwdrivers
What do we use to cut wood? | saw/saws/axe
What do we use to measure length? | ruler/tape/rulers/measuring tape
What do we use to weigh things? | scale/scales/balance
What do we use to light a campfire? | match/matches/lighter/kindling
What holds sheets of paper together and is bent from wire? | paperclip/clip/staple/paper clip
What protects a rider's head? | helmet/helmets
What is a bed for a baby called? | crib/cradle/cot/bassinet
What do we call a bag for school that hangs on the shoulders? | backpack/backpacks/rucksack
What do we call a house on wheels? | caravan/motorhome/trailer/RV/mobile home/camper
# transport
What vehicle runs on rails? | train/tram/trains
What vehicle has two wheels and pedals? | bicycle/bike/bicycles
What vehicle flies with a rotor on top? | helicopter/helicopters
What vehicle travels under water? | submarine/submarines
What vehicle takes sick people to a hospital? | ambulance/ambulances
What do we call a train under the streets of a city? | subway/metro/underground
What do we call the place where airplanes land? | airport/runway/airports
What do we call the place where trains stop? | station/stations
What do we call the place where ships load? | port/harbor/dock/harbour/ports/docks
What do we call a car that people pay to be driven in? | taxi/cab/taxis/cabs
What do most cars burn? | gasoline/petrol/gas/fuel
What do we call a boat that takes cars across water? | ferry/ferries
What does a sailing boat need to move? | wind/sails/sail
What do we call a road over a river? | bridge/bridges
What do we call a road through a mountain? | tunnel/tunnels
What do we call a person who drives a car? | driver/drivers
What must passengers in a car fasten? | seat belt/seatbelt/seat belts/seatbelts/belt
Which part of a car do you turn to steer? | wheel/steering
Which part of a bicycle stops it? | brake/brakes
What do we call a big ship that carries oil? | tanker/tankers
What do we call the sea route through Egypt? | Suez
What do we call the sea route through Central America? | Panama
# sports
How many players does a soccer team have on the field? | eleven/11
How many players does a basketball team have on the court? | five/5
How many players does a baseball team have in the field? | nine/9
In which sport do players hit a small ball into holes with clubs? | golf
In which sport do players hit a yellow ball over a net with rackets? | tennis
In which sport do players throw a ball through a hoop? | basketball
In which sport do players hit a puck on ice? | hockey
In which sport do people ride waves on a board? | surfing/surf
In which sport do people slide down snowy mountains on two boards? | skiing/ski/snowboarding
In which sport do two people fight with gloves in a ring? | boxing
In which sport do teams try to score touchdowns? | football
In which sport is a home run scored? | baseball
In which sport is there a butterfly stroke? | swimming
In which sport do you knock down ten pins? | bowling
In which sport do you shoot arrows at a target? | archery
Who watches over the rules of a soccer game? | referee/referees/official
How often are the Summer Olympic Games held? | four/4
What is given to the winner of an Olympic event? | gold medal/medal/gold
How many rings are on the Olympic flag? | five/5
What long race is about 42 kilometers? | marathon
What country won the most soccer World Cups? | Brazil
In which country did judo begin? | Japan
In which country did cricket begin? | England
Which sport is played at Wimbledon? | tennis
Which piece must be protected in chess? | king
Which piece is the strongest in chess? | queen
How many squares does a chessboard have? | 64/sixty-four
What do we call a person who trains a team? | coach/trainer/coaches
Which sport did Michael Jordan play? | basketball
Which sport did Pelé play? | soccer/football
Which sport did Muhammad Ali do? | boxing/boxer
Which sport did Babe Ruth play? | baseball
# countries
On which island do the cities of Tokyo and Kyoto lie? | Honshu
Which country is shaped like a boot? | Italy
Which country has a red maple leaf on its flag? | Canada/Canadian
Which country is home to the kangaroo? | Australia
Which country is home to the giant panda? | China
Which country has the most people, together with China? | India
In which country is the Eiffel Tower? | France
In which country is the Taj Mahal? | India
In which country is Machu Picchu? | Peru
In which country is the Colosseum? | Italy
In which country are the pyramids of Giza? | Egypt
In which country is Mount Fuji? | Japan
In which country is Big Ben? | England/United Kingdom/Britain/UK
In which country is the Great Barrier Reef? | Australia
In which country is the Kremlin? | Russia
In which country is the Acropolis? | Greece
In which city is the Statue of Liberty? | New York
In which city is the White House? | Washington
In which city is the Golden Gate Bridge? | San Francisco
In which city is Hollywood? | Los Angeles
In which city is Buckingham Palace? | London
In which city is the Brandenburg Gate? | Berlin
In which city is the Colosseum? | Rome
In which city is the Eiffel Tower? | Paris
Which city is called the Big Apple? | New York
Which city is famous for its canals and gondolas? | Venice
What is the largest state of the United States by area? | Alaska
Which state of the United States is a group of islands? | Hawaii
How many states does the United States have? | 50/fifty
What language is spoken in Brazil? | Portuguese
What language is spoken in Mexico? | Spanish
What language is spoken in Germany? | German
What language is spoken in Austria? | German
What language is spoken in Egypt? | Arabic
What language is spoken in Japan? | Japanese
What language do most people in Quebec speak? | French
What is the currency of Japan? | yen
What is the currency of the United States? | dollar/dollars
What is the currency of the United Kingdom? | pound/pounds/sterling
What is the currency of Germany? | euro/euros
What is the currency of India? | rupee/rupees
What is the currency of Russia? | ruble/rouble/rubles
What is the currency of China? | yuan/renminbi
What is the currency of Mexico? | peso/pesos
# religion and myth
What is the holy book of Christianity? | Bible
What is the holy book of Islam? | Quran/Koran/Qur'an
What is the holy book of Judaism? | Torah/Tanakh
In which building do Christians pray? | church/churches/cathedral
In which building do Muslims pray? | mosque/mosques
In which building do Jews pray? | synagogue/synagogues
Who is the king of the gods in Greek myth? | Zeus
Who is the god of the sea in Greek myth? | Poseidon
Who is the goddess of love in Greek myth? | Aphrodite
Who is the god of thunder in Norse myth? | Thor
Who is the Roman god of war? | Mars
Which Greek hero killed the Minotaur? | Theseus
Who had snakes for hair in Greek myth? | Medusa/Gorgon
Which winged horse appears in Greek myth? | Pegasus
Which horse with one horn appears in fairy tales? | unicorn/unicorns
Which creature in fairy tales breathes fire? | dragon/dragons
Who founded Buddhism? | Buddha/Gautama/Siddhartha
Who built the ark in the Bible? | Noah
Who killed Goliath in the Bible? | David
Who were the first man and woman in the Bible? | Adam/Eve
Which holiday do Christians celebrate on December 25? | Christmas
Which month of fasting do Muslims keep? | Ramadan
Who brings gifts to children at Christmas? | Santa/Claus/Father Christmas
What animal hides eggs at Easter? | bunny/rabbit/hare
Who is the prophet of Islam? | Muhammad/Mohammed
To which city do Muslims make a pilgrimage? | Mecca/Makkah
# society
What do we call the head of a city's government? | mayor/mayors
What do we call a vote in which people choose their leaders? | election/elections
What do we call rule by the people? | democracy
What do we call money that people pay to the state? | tax/taxes/taxation
What do we call a rule made by the state? | law/laws/legislation
What do we call the place where money is kept and lent? | bank/banks
What do we call the place where people see films? | cinema/theater/theatre/movie/cinemas/theaters
What do we call the place where old and precious things are shown? | museum/museums
What do we call the place where books are lent? | library/libraries
What do we call the place where sick people are treated? | hospital/clinic/hospitals/infirmary
What do we call the place where criminals are locked up? | prison/jail/prisons
What do we call the place where people buy bread and cakes? | bakery/bakeries
What do we call the place where children learn? | school/schools/classroom
What do we call a heavy metal box for money and jewels? | safe/vault/strongbox
What do we call a book that has no made-up parts? | nonfiction/non-fiction
What do we call a period of a hundred years? | century/centuries
What do we call a period of ten years? | decade/decades
What do we call a person who is 100 years old? | centenarian
What do we call a person who cannot see? | blind
What do we call a person who cannot hear? | deaf
What do we call a person who buys things in a shop? | customer/shopper/buyer/consumer/customers
What do we call a person who lives next door? | neighbor/neighbour/neighbors
What do we call your mother's sister? | aunt/auntie
What do we call your father's brother? | uncle
What do we call your father's father? | grandfather/grandpa
What do we call your uncle's child? | cousin/cousins
What do we call your brother's daughter? | niece
What do we call your sister's son? | nephew
What do we call two children born together? | twins/twin
What do we call a child without parents? | orphan/orphans
What do we call a woman on the day of her wedding? | bride
What do we call a man on the day of his wedding? | groom/bridegroom
What do we call a woman whose husband has died? | widow
What do Americans celebrate on July 4? | Independence
What do Americans eat at Thanksgiving? | turkey
On which day do people give roses and cards to those they love? | Valentine/Valentine's
On which night do children ask for sweets in costumes? | Halloween
What is celebrated each year on the day you were born? | birthday/birthdays
# technology
What does CPU stand for? | central processing unit
What does WWW stand for? | World Wide Web
What does USB stand for? | universal serial bus
What does PDF stand for? | portable document format
What does HTML stand for? | hypertext markup language
What does GPS stand for? | global positioning system
What does DNA stand for? | deoxyribonucleic
What does NASA stand for? | National Aeronautics
What does AI stand for? | artificial intelligence
What does UN stand for? | United Nations
What does ATM stand for? | automated teller machine/automatic teller machine
What does TV stand for? | television
What does RAM stand for in a computer? | random access memory
What does FAQ stand for? | frequently asked questions
What do we call a program that shows web pages? | browser/browsers
What do we call a harmful program that spreads between computers? | virus/malware/worm/viruses
What do we call secret letters and digits that protect an account? | password/passwords
What do we call a mistake in a program? | bug/bugs/error
What do we call a message sent by computer over the internet? | email/e-mail/emails
Who founded Microsoft with Paul Allen? | Gates
Who founded Apple with Steve Wozniak? | Jobs
Who founded Facebook? | Zuckerberg
Who founded Amazon? | Bezos
Which company makes the iPhone? | Apple
Which company made the Windows operating system? | Microsoft
Which company runs the most used search engine? | Google
Which company sells the PlayStation? | Sony
Which number system do computers use inside? | binary
What do we call a machine that can do work by itself and looks like a man? | robot/robots/android/humanoid
What do we call a small flying machine without a pilot? | drone/drones
What does a printer put on paper? | ink/text/toner
# mathematics
What is the ratio of a circle's circumference to its diameter called? | pi/π
What do we call a triangle with three equal sides? | equilateral
What do we call a triangle with two equal sides? | isosceles
What do we call a polygon with five sides? | pentagon
What do we call a polygon with six sides? | hexagon
What do we call a polygon with eight sides? | octagon
What do we call an angle of 90 degrees? | right angle/right
What do we call an angle of less than 90 degrees? | acute
What do we call an angle of more than 90 and less than 180 degrees? | obtuse
What do we call a number that only 1 and itself divide? | prime/primes
What do we call the result of an addition? | sum
What do we call the result of a multiplication? | product
What do we call the result of a division? | quotient
What do we call the result of a subtraction? | difference
What do we call the distance around a circle? | circumference/perimeter
What do we call the distance from the center of a circle to its edge? | radius
What do we call the longest side of a right triangle? | hypotenuse
What do we call the top number of a fraction? | numerator
What do we call the bottom number of a fraction? | denominator
What shape is a ball? | sphere/spherical/round/circle
What shape is a die that people roll in games? | cube/cubic/cubical
What is the square root of 9? | 3/three
What is the square root of 16? | 4/four
What is the square root of 100? | 10/ten
What is half of 100? | 50/fifty
What is a quarter of 100? | 25/twenty-five
What is ten times ten? | 100/hundred
How many sides does a triangle have? | three/3
How many sides does a square have? | four/4
How many sides does a hexagon have? | six/6
How many faces does a cube have? | six/6
How many degrees do the angles of a triangle add up to? | 180
Which theorem relates the sides of a right triangle? | Pythagorean/Pythagoras
What do we call the average of a set of numbers? | mean
What do we call the middle value of a sorted set of numbers? | median
# language
What do we call a word that names a person, place or thing? | noun/nouns
What do we call a word that names an action? | verb/verbs
What do we call a word that describes a noun? | adjective/adjectives
What do we call a word that describes a verb? | adverb/adverbs
What do we call a word such as "he", "she" or "it"? | pronoun/pronouns
What do we call a word such as "and", "but" or "or"? | conjunction/conjunctions
What do we call a word such as "in", "on" or "under"? | preposition/prepositions
What do we call the letters a, e, i, o and u? | vowels/vowel
What do we call letters that are not vowels? | consonants/consonant
What mark ends a question? | question mark
What mark ends a plain sentence? | period/full stop/dot
How many letters does the English alphabet have? | 26/twenty-six
What do we call words that mean the same? | synonyms/synonym/synonymous
What do we call words that sound the same but differ in meaning? | homophones/homophone/homonyms/homonym
What does "hola" mean in English? | hello/hi
What does "gracias" mean in English? | thank you/thanks
What does "bonjour" mean in English? | hello/good day/good morning/hi
What does "merci" mean in English? | thank you/thanks
What does "guten Morgen" mean in English? | good morning
What does "ciao" mean in English? | hello/goodbye/bye/hi
What does "amigo" mean in English? | friend
What does "casa" mean in English? | house/home
What does "agua" mean in English? | water
What does "oui" mean in English? | yes
What is the Spanish word for "dog"? | perro
What is the Spanish word for "cat"? | gato
What is the French word for "cheese"? | fromage
What is the German word for "water"? | Wasser
Which language has the most native speakers? | Mandarin/Chinese
From which language does the word "kindergarten" come? | German
What do we call a book with maps? | atlas/atlases
What do we call a person who translates speech at once? | interpreter/translator/interpreters
"""
