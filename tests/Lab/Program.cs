using System.Runtime.Versioning;
using Pollux.Lab;
using Pollux.Lab.Benchmarks;
using Pollux.Lab.Guest;
using Pollux.Lab.Machines;
using Pollux.Lab.Scenarios;

[assembly: SupportedOSPlatform("linux")]

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
        case ["demo"]:
            return await Demo.StartAsync();
        case ["demo", "--stop"]:
            return await Demo.StopAsync();
        case ["demo", "--scenario", "failover"]:
            return await FailoverScenario.RunAsync();
        case ["bench", "replication", .. var options]:
            return await ReplicationBenchmark.RunAsync(BenchmarkOptions.Parse(options));
        case ["bench", "metadata", .. var wishes]:
            string? json = null, directory = null;
            var withLab = true;
            for (var i = 0; i < wishes.Length; i++)
            {
                switch (wishes[i])
                {
                    case "--json" when i + 1 < wishes.Length: json = wishes[++i]; break;
                    case "--directory" when i + 1 < wishes.Length: directory = wishes[++i]; break;
                    case "--no-lab": withLab = false; break;
                    default: throw new LabException($"Unknown option '{wishes[i]}': bench metadata [--json FILE] [--directory DIR] [--no-lab]");
                }
            }
            return await MetadataBenchmark.RunAsync(json, directory, withLab);
        case ["bench", "hot-path"]:
            return await HotPathBenchmark.RunAsync();
        case ["link", "serve"]:
            return LinkProbe.Serve();
        case ["link", "probe", var address, var workload, var seconds]:
            return LinkProbe.Probe(address, workload, seconds);
        case ["clean"]:
            foreach (var id in LabFolder.Abandoned())
            {
                Console.WriteLine($"removing the abandoned lab {id}");
                await LabFolder.RemoveAsync(id);
            }
            return 0;
        default:
            Console.Error.WriteLine("usage: pollux-lab demo [--scenario failover | --stop] | bench replication [OPTIONS] | bench hot-path | bench metadata [OPTIONS] | guest build | guest try | clean");
            return 2;
    }
}
catch (LabException e)
{
    Console.Error.WriteLine("error: " + e.Message);
    return 1;
}
