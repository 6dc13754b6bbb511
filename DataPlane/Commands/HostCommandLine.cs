using System.CommandLine;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Commands;

/// <summary>The program <c>pollux-host</c>. Exit codes: 0 done, 1 refused or failed (the reason on standard error), 2 wrong usage.</summary>
public static class HostCommandLine
{
    private const int Done = 0;
    private const int Failed = 1;
    private const int Usage = 2;

    private static readonly Option<string> Data = new("--data")
    {
        Description = "Directory of this host's identity and of what it knows of its modules.",
        HelpName = "DIR",
        DefaultValueFactory = _ => DataPlaneOptions.DataDirectoryDefault,
    };

    private static readonly Option<string> RunDirectory = new("--run-dir")
    {
        Description = "Directory that is empty after each start of the machine; holds the local socket.",
        HelpName = "DIR",
        DefaultValueFactory = _ => DataPlaneOptions.RunDirectoryDefault,
    };

    private static readonly Option<Uri?> Server = new("--server")
    {
        Description = "Address of the control plane.",
        HelpName = "URL",
        CustomParser = result => Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var uri) && uri.Scheme == Uri.UriSchemeHttps
            ? uri
            : Wrong(result, "--server needs an address like https://control:7400"),
    };

    private static readonly Option<string?> Token = new("--token") { Description = "One-time token, as 'pollux host add CLUSTER/HOST' prints it.", HelpName = "TOKEN" };

    private static readonly Option<string[]> Addresses = new("--address")
    {
        Description = "Address by which the peer reaches this host; once for each network between the hosts, the preferred one first, in the same order on both. By default the one used to reach the server.",
        HelpName = "ADDR",
        Arity = ArgumentArity.OneOrMore,
        DefaultValueFactory = static _ => [],
        Validators =
        {
            static result =>
            {
                var addresses = result.Tokens.Select(static token => token.Value).ToArray();
                if ((NetworkAddresses.Refuse(addresses) ?? NetworkAddresses.RefuseForeign(addresses)) is { } refusal)
                    result.AddError($"--address: {refusal}");
            },
        },
    };

    public static async Task<int> RunAsync(string[] args)
    {
        var root = new RootCommand("The data plane of Pollux: mirrors the directories of VMs between the two hosts of a cluster and runs the VMs.");
        root.Subcommands.Add(Join());
        root.Subcommands.Add(Run());
        root.Subcommands.Add(Status());
        root.Subcommands.Add(LocalCommands.MakeVerify(RunDirectory, GuardedAsync));
        root.Subcommands.Add(LocalCommands.MakeResyncLimits(RunDirectory, GuardedAsync));
        root.Subcommands.Add(ChangeAddresses());
        root.Subcommands.Add(FencingCommand.Make(Data, GuardedAsync));
        root.Subcommands.Add(OlderCopyCommand.Make(Data, GuardedAsync));
        root.Subcommands.Add(Guard());
        var parsed = root.Parse(args);
        var code = await parsed.InvokeAsync().ConfigureAwait(false);
        HostLog.Close(TimeSpan.FromSeconds(2));
        return parsed.Errors.Count > 0 ? Usage : code;
    }

    private static Command Join()
    {
        var command = new Command("join", "Makes this machine a host of a cluster: makes its key and has it signed against a one-time token.")
        {
            Server, Token, Data, Addresses,
        };
        command.SetAction((parsed, cancel) => GuardedAsync(async () =>
        {
            if (parsed.GetValue(Server) is not { } server || parsed.GetValue(Token) is not { } token)
            {
                await Console.Error.WriteLineAsync("join needs --server and --token.").ConfigureAwait(false);
                return Usage;
            }

            using var identity = await Joining.JoinAsync(server, token, parsed.GetRequiredValue(Data), [.. parsed.GetRequiredValue(Addresses)], cancel).ConfigureAwait(false);
            await Console.Out.WriteLineAsync($"joined as {identity.Host}; now start it: pollux-host run").ConfigureAwait(false);
            return Done;
        }));
        return command;
    }

    private static Command Run()
    {
        var command = new Command("run", "Runs the data plane until it is told to end (SIGTERM). With --server and --token it joins first, unless it has.")
        {
            Server, Token, Data, Addresses, RunDirectory,
        };
        command.SetAction((parsed, cancel) => GuardedAsync(async () =>
        {
            var options = new DataPlaneOptions
            {
                DataDirectory = Path.GetFullPath(parsed.GetRequiredValue(Data)),
                RunDirectory = Path.GetFullPath(parsed.GetRequiredValue(RunDirectory)),
            };
            var identities = new IdentityStore(options.DataDirectory);
            if (!identities.Exists && parsed.GetValue(Server) is { } server && parsed.GetValue(Token) is { } token)
                (await Joining.JoinAsync(server, token, options.DataDirectory, [.. parsed.GetRequiredValue(Addresses)], cancel).ConfigureAwait(false)).Dispose();
            using var identity = identities.Load();
            await HostProgram.RunAsync(identity, options, cancel).ConfigureAwait(false);
            return Done;
        }));
        return command;
    }

    private static Command ChangeAddresses()
    {
        var reset = new Option<bool>("--default") { Description = "Forget the addresses: use the one by which the server is reached." };
        var command = new Command("addresses",
            "Shows or changes the addresses by which the peer reaches this host, one for each network. A running data plane takes them over by itself, VMs go on.")
        {
            Addresses, reset, Data,
        };
        command.SetAction((parsed, _) => GuardedAsync(async () =>
        {
            var store = new IdentityStore(parsed.GetRequiredValue(Data));
            var given = parsed.GetRequiredValue(Addresses);
            if (given.Length > 0 && parsed.GetValue(reset))
            {
                await Console.Error.WriteLineAsync("addresses takes --address or --default, not both.").ConfigureAwait(false);
                return Usage;
            }

            if (given.Length > 0 || parsed.GetValue(reset))
                store.SaveAddresses([.. given]);
            using var identity = store.Load();
            var number = 0;
            foreach (var address in identity.Addresses)
                await Console.Out.WriteLineAsync($"network {++number}  {address}").ConfigureAwait(false);
            if (number == 0)
                await Console.Out.WriteLineAsync($"network 1  the address by which {identity.Server} is reached").ConfigureAwait(false);
            return Done;
        }));
        return command;
    }

    private static Command Status()
    {
        var json = new Option<bool>("--json") { Description = "Machine-readable." };
        var history = new Option<bool>("--history") { Description = "With what happened to each module on this host, also before it was restarted." };
        var command = new Command("status", "Shows what this host knows of itself, with or without a control plane.") { json, history, RunDirectory };
        command.SetAction((parsed, cancel) => GuardedAsync(async () =>
        {
            var path = new DataPlaneOptions { RunDirectory = parsed.GetRequiredValue(RunDirectory) }.SocketPath;
            await HostStatusText.PrintAsync(path, parsed.GetValue(json), parsed.GetValue(history), cancel).ConfigureAwait(false);
            return Done;
        }));
        return command;
    }

    private static Command Guard()
    {
        var path = new Option<string>("--lock") { Required = true, HelpName = "FILE" };
        var socket = new Option<string>("--socket") { Required = true, HelpName = "FILE" };
        var watchdog = new Option<string?>("--watchdog") { HelpName = "FILE" };
        var watchdogSeconds = new Option<int>("--watchdog-seconds") { DefaultValueFactory = static _ => WatchdogOptions.TimeoutSecondsDefault };
        var watchdogStatus = new Option<string?>("--watchdog-status") { HelpName = "FILE" };
        var stopSeconds = new Option<int>("--stop-seconds") { DefaultValueFactory = static _ => FencingOptions.StopSecondsDefault };
        var command = new Command("guard", "Internal: lets no VM execute without a lease, and keeps VMs and mounts for the next data plane.")
        {
            path, socket, watchdog, watchdogSeconds, watchdogStatus, stopSeconds,
        };
        command.Hidden = true;
        command.SetAction(parsed =>
        {
            using var only = GuardProcess.Lock(parsed.GetRequiredValue(path));
            var fed = parsed.GetValue(watchdog) is { } device && parsed.GetValue(watchdogStatus) is { } status
                ? new GuardWatchdog(new WatchdogOptions(device, parsed.GetValue(watchdogSeconds)), status)
                : null;
            var guard = new GuardProcess(() => BootClock.NowMs, GuardProcess.OrphanMsMax, fed, parsed.GetValue(stopSeconds) * 1000L);
            GuardSocket.Listen(parsed.GetRequiredValue(socket), guard);
            guard.Run();
            return Done;
        });
        return command;
    }

    /// <summary>The one place that turns an expected failure into words and an exit code.</summary>
    private static async Task<int> GuardedAsync(Func<Task<int>> action)
    {
        try
        {
            return await action().ConfigureAwait(false);
        }
        catch (IdentityException e)
        {
            await Console.Error.WriteLineAsync($"{e.Code}: {e.Message}").ConfigureAwait(false);
        }
        catch (HostStartException e)
        {
            await Console.Error.WriteLineAsync($"{e.Code}: {e.Message}").ConfigureAwait(false);
        }

        return Failed;
    }

    private static Uri? Wrong(System.CommandLine.Parsing.ArgumentResult result, string text)
    {
        result.AddError(text);
        return null;
    }
}
