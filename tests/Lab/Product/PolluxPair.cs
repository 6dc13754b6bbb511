using System.Net;
using System.Text.Json;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Product;

/// <summary>The product as a user installs it: <c>pollux server</c> on its own machine, <c>pollux-host</c> on two hosts that
/// joined with their tokens, one cluster. All commands go through the real CLI.</summary>
public sealed class PolluxPair : IAsyncDisposable
{
    public const string Cluster = "demo";
    public const int Port = 7400;

    /// <summary>What hosts listen on for each other, by default.</summary>
    public const int BeaconPort = 7410;
    public const int ReplicationPort = 7411;

    private static readonly TimeSpan ReadyMax = TimeSpan.FromSeconds(30);
    private static readonly IReadOnlyDictionary<string, string> Quiet = new Dictionary<string, string>
    {
        ["DOTNET_NOLOGO"] = "1",
        ["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1",
        // The lab's processes share two cores; their stacks of idle collector threads would not help.
        ["DOTNET_gcServer"] = "0",
    };

    private readonly string _serverProgram = ProgramOrThrow("Gateway", "pollux");
    private readonly string _hostProgram = ProgramOrThrow("DataPlane", "pollux-host");
    private readonly Dictionary<string, LabProcess> _dataPlanes = [];
    private LabProcess? _server;
    private PolluxApi? _api;

    private PolluxPair(VirtualLab machines) => Machines = machines;

    public VirtualLab Machines { get; }

    public PolluxApi Api => _api ?? throw new LabException("The server was never started.");

    public LabProcess Server => _server ?? throw new LabException("The server was never started.");

    public IReadOnlyDictionary<string, LabProcess> DataPlanes => _dataPlanes;

    public Uri ServerAddress => new($"https://{Machines.Control.Address}:{Port}");

    /// <summary>Makes machines and product, up to two connected hosts in one cluster without modules.</summary>
    /// <param name="detectionSeconds">The cluster's detection time, seconds.</param>
    /// <param name="prepare">Called with the machines, still off; e.g. to give a host a limited disk.</param>
    /// <param name="report">Called with each step, as a sentence.</param>
    /// <param name="clusterOptions">More options of <c>pollux cluster create</c>.</param>
    public static async Task<PolluxPair> CreateAsync(
        int detectionSeconds, string? id = null, Func<VirtualLab, Task>? prepare = null, Action<string>? report = null,
        IReadOnlyList<string>? clusterOptions = null)
    {
        report ??= _ => { };
        var machines = await VirtualLab.CreateAsync(["alpha", "beta"], id);
        try
        {
            if (prepare is not null)
                await prepare(machines);
            var pair = new PolluxPair(machines);
            report($"Switching on: ctl (control plane), alpha and beta (hosts with libvirt), network 10.77.{machines.Network.Subnet}.0/24");
            await machines.Control.StartAsync();
            foreach (var host in machines.Hosts)
                await host.StartAsync();
            await pair.StartServerAsync();
            report($"The control plane answers at {pair.ServerAddress}");
            (await pair.CliAsync(["cluster", "create", Cluster, "--detection", $"{detectionSeconds}s", .. clusterOptions ?? []])).OrThrow();
            foreach (var host in machines.Hosts)
            {
                var added = (await pair.CliAsync("host", "add", $"{Cluster}/{host.Name}", "--json")).OrThrow();
                (await pair.TryJoinAsync(host, TokenOf(added.Output))).OrThrow();
                await pair.StartDataPlaneAsync(host);
                report($"Host {host.Name} has joined the cluster '{Cluster}'");
            }
            return pair;
        }
        catch
        {
            KeepLogs(machines);
            await machines.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts <c>pollux server</c>, the first time or again on the same data.</summary>
    /// <param name="options">More options of <c>pollux server</c>.</param>
    public async Task StartServerAsync(params string[] options)
    {
        var control = Machines.Control;
        _server = control.Spawn("pollux-server",
            ["dotnet", _serverProgram, "server", "--listen", $"0.0.0.0:{Port}", "--advertise", control.Address.ToString(), "--advertise", "ctl", .. options], Quiet);
        await _server.WaitForLineAsync("pollux server ready", ReadyMax);
        _api ??= new PolluxApi(ServerAddress, control.OnMachine("/var/lib/pollux"));
    }

    /// <summary>Ends the control plane hard, and takes its database away: the authority and its keys stay.</summary>
    /// <param name="into">An empty folder that gets the files; null: they are lost.</param>
    public async Task TakeDatabaseAsync(string? into = null)
    {
        await Server.KillAsync();
        foreach (var file in Directory.GetFiles(Machines.Control.OnMachine("/var/lib/pollux"), "pollux.db*"))
            if (into is null)
                File.Delete(file);
            else
                File.Move(file, Path.Combine(into, Path.GetFileName(file)));
    }

    /// <summary>Puts files of <see cref="TakeDatabaseAsync"/> in place of a database that is gone; they stay where they are as well.</summary>
    public void PutDatabase(string from)
    {
        foreach (var file in Directory.GetFiles(from, "pollux.db*"))
            File.Copy(file, Path.Combine(Machines.Control.OnMachine("/var/lib/pollux"), Path.GetFileName(file)));
    }

    /// <summary>Starts <c>pollux-host run</c> and waits until it has reached the control plane.</summary>
    public async Task StartDataPlaneAsync(LabHost host, bool waitUntilReady = true)
    {
        var process = host.Spawn("pollux-host", ["dotnet", _hostProgram, "run"], Quiet);
        _dataPlanes[host.Name] = process;
        if (waitUntilReady)
            await process.WaitForLineAsync("pollux-host ready", ReadyMax);
    }

    /// <summary>Switches a host on again after a power-off, with its data plane as systemd would start it.</summary>
    public async Task BootAsync(LabHost host)
    {
        await host.StartAsync();
        await StartDataPlaneAsync(host, waitUntilReady: false);
    }

    /// <summary>What a host says of itself, by its own command; null while its data plane does not answer.</summary>
    public async Task<LocalStatus?> TryGetLocalStatusAsync(LabHost host)
    {
        var answer = await host.ExecAsync(["dotnet", _hostProgram, "status", "--json"]);
        return answer.Succeeded ? JsonSerializer.Deserialize<LocalStatus>(answer.Output, FleetStatus.Json) : null;
    }

    /// <summary>Changes by which addresses the peer reaches a host, while it runs.</summary>
    public async Task ChangeAddressesAsync(LabHost host, params IPAddress[] addresses) => (await host.ExecAsync(
        ["dotnet", _hostProgram, "addresses", .. addresses.SelectMany(address => new[] { "--address", address.ToString() })])).OrThrow();

    /// <summary>Runs the <c>pollux</c> command on the control plane's machine.</summary>
    public Task<ShellResult> CliAsync(params string[] arguments) =>
        Machines.Control.ExecAsync(
            ["env", $"POLLUX_SERVER={ServerAddress}", "dotnet", _serverProgram, .. arguments], TimeSpan.FromSeconds(90));

    public async ValueTask DisposeAsync()
    {
        _api?.Dispose();
        KeepLogs(Machines);
        await Machines.DisposeAsync();
    }

    /// <summary>Leaves everything running for the user; nothing is deleted until <c>eng/demo --stop</c>.</summary>
    public void LeaveRunning()
    {
        _api?.Dispose();
        LabFolder.GiveUp(Machines.Id);
    }

    /// <summary>A small script that runs the <c>pollux</c> command from the machine against this lab's server.</summary>
    public string WriteCommandScript(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, $"""
            #!/bin/sh
            export POLLUX_SERVER={ServerAddress} POLLUX_TOKEN_FILE={Api.TokenFile} POLLUX_CA_FILE={Api.AuthorityFile}
            exec dotnet {_serverProgram} "$@"

            """);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }

    /// <summary>Runs <c>pollux-host join</c> with a one-time token.</summary>
    public Task<ShellResult> TryJoinAsync(LabHost host, string token) => host.ExecAsync(
        ["dotnet", _hostProgram, "join", "--server", ServerAddress.ToString().TrimEnd('/'), "--token", token, "--address", host.Address.ToString()],
        ReadyMax);

    /// <summary>The token in the JSON answer of <c>pollux host add</c>.</summary>
    public static string TokenOf(string json)
    {
        using var document = JsonDocument.Parse(json);
        return document.RootElement.GetProperty("token").GetString() ?? throw new LabException($"No token in {json}");
    }

    /// <summary>The logs of a lab outlive it, for whoever has to find out why a test failed.</summary>
    private static void KeepLogs(VirtualLab machines)
    {
        var target = Path.Combine(Repository.Root, "out", "lab-logs", machines.Id);
        foreach (var host in machines.Hosts.Append(machines.Control))
        {
            foreach (var source in new[] { Path.Combine(host.Folder, "logs"), host.OnMachine("/var/log/libvirt"), host.OnMachine("/var/log/libvirt/qemu") })
            {
                if (!Directory.Exists(source))
                    continue;
                foreach (var file in Directory.EnumerateFiles(source))
                {
                    Directory.CreateDirectory(Path.Combine(target, host.Name));
                    File.Copy(file, Path.Combine(target, host.Name, Path.GetFileName(file)), overwrite: true);
                }
            }
        }
    }

    private static string ProgramOrThrow(string project, string assembly)
    {
        var path = Repository.Program(project, assembly);
        return File.Exists(path) ? path : throw new LabException(
            $"{path} is missing: build the whole solution first (dotnet build Orleans.sln -c {Repository.Configuration}).");
    }
}
