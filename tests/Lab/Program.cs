using Pollux.Lab;
using Pollux.Lab.Guest;
using Pollux.Lab.Machines;

try
{
    switch (args)
    {
        case ["guest", "build"]:
            var image = await GuestImage.BuildAsync();
            Console.WriteLine($"guest: {image.KernelPath}, {image.InitramfsPath}");
            return 0;
        case ["guest", "try"]:
            return await GuestTrial.RunAsync();
        case ["clean"]:
            foreach (var id in LabFolder.Abandoned())
            {
                Console.WriteLine($"removing the abandoned lab {id}");
                await LabFolder.RemoveAsync(id);
            }
            return 0;
        default:
            Console.Error.WriteLine("usage: pollux-lab guest build | guest try | clean");
            return 2;
    }
}
catch (LabException e)
{
    Console.Error.WriteLine("error: " + e.Message);
    return 1;
}
