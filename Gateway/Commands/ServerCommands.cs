using System.CommandLine;
using System.CommandLine.Parsing;
using System.Data.Common;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Orleans.Runtime;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Server;
using Pollux.Silo;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux server</c>, and its two halves for a cluster.</summary>
internal static class ServerCommands
{
    private static readonly Option<string> Data = new("--data")
    {
        Description = "Directory of authority, operator token and database.", HelpName = "DIR", DefaultValueFactory = _ => ServerOptions.DataDirectoryDefault,
    };

    private static readonly Option<IPEndPoint> Listen = new("--listen")
    {
        Description = "Where to listen.", HelpName = "ADDR:PORT", CustomParser = ParseEndPoint,
        DefaultValueFactory = _ => new IPEndPoint(IPAddress.Any, ServerOptions.PortDefault),
    };

    private static readonly Option<string[]> Advertise = new("--advertise")
    {
        Description = "Names or addresses by which hosts and operators reach this server, for its certificate.", HelpName = "NAME",
        AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [],
    };

    private static readonly Option<string?> Postgres = new("--postgres")
    {
        Description = "PostgreSQL instead of SQLite [$POLLUX_POSTGRES].", HelpName = "CONNECTION",
        DefaultValueFactory = _ => Environment.GetEnvironmentVariable("POLLUX_POSTGRES") is { Length: > 0 } value ? value : null,
    };

    private static readonly Option<IPAddress?> SiloAddress = new("--address")
    {
        Description = "Address by which other silos and gateways reach this silo; the machine's first if left out.", HelpName = "ADDR", CustomParser = ParseAddress,
    };

    private static readonly Option<int> SiloPort = new("--silo-port")
    {
        Description = "TCP port between silos.", DefaultValueFactory = _ => PolluxSiloOptions.SiloPortDefault,
    };

    private static readonly Option<int> ClientPort = new("--client-port")
    {
        Description = "TCP port of the silo for gateways.", DefaultValueFactory = _ => PolluxSiloOptions.ClientPortDefault,
    };

    private static readonly Option<bool> Restored = new("--restored")
    {
        Description = "The database was restored from a backup, or is lost and new: grant nothing until the hosts have reported. For one start, after all others were stopped.",
    };

    public static void AddTo(RootCommand root)
    {
        root.Add(Make("server", "Runs the control plane in one process: silo, gateway, SQLite.", ServerParts.All));
        root.Add(Make("silo", "Runs a silo of a cluster (a build with Orleans, and PostgreSQL).", ServerParts.Silo));
        root.Add(MakeOperatorToken());
        root.Add(Make("gateway", "Runs a gateway of a cluster (a build with Orleans, and PostgreSQL).", ServerParts.Gateway));
    }

    private static Command MakeOperatorToken()
    {
        var name = new Argument<string>("NAME") { Description = "The operator, as the history of modules shall name them." };
        var command = new Command("operator-token", "On the server's machine: issues an operator's own token; an older one of the same name is void.") { name, Data };
        command.SetAction(parsed =>
        {
            try
            {
                parsed.Output().WriteLine(OperatorTokens.Issue(parsed.GetRequiredValue(Data), parsed.GetRequiredValue(name)));
                return PolluxCommandLine.Done;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
            {
                parsed.Error().WriteLine(e.Message);
                return PolluxCommandLine.Failed;
            }
        });
        return command;
    }

    private static Command Make(string name, string description, ServerParts parts)
    {
        var command = new Command(name, description) { Data, Postgres };
        if (parts != ServerParts.Silo)
        {
            command.Add(Listen);
            command.Add(Advertise);
        }
        if (parts == ServerParts.Silo) command.Add(SiloAddress);
        if (parts != ServerParts.Gateway)
        {
            command.Add(SiloPort);
            command.Add(ClientPort);
            command.Add(Restored);
        }
        command.SetAction((parsed, cancel) => RunAsync(parsed, Options(parsed, parts), cancel));
        return command;
    }

    private static ServerOptions Options(ParseResult parsed, ServerParts parts) => new(
        parsed.GetRequiredValue(Data),
        parts == ServerParts.Silo ? new IPEndPoint(IPAddress.Loopback, 0) : parsed.GetRequiredValue(Listen),
        parts == ServerParts.Silo ? [] : [.. parsed.GetRequiredValue(Advertise)],
        parsed.GetValue(Postgres), parts,
        parts == ServerParts.Gateway ? 0 : parsed.GetValue(SiloPort), parts == ServerParts.Gateway ? 0 : parsed.GetValue(ClientPort),
        parts == ServerParts.Silo ? parsed.GetValue(SiloAddress) : null)
    {
        Restored = parts != ServerParts.Gateway && parsed.GetValue(Restored),
    };

    private static async Task<int> RunAsync(ParseResult parsed, ServerOptions options, CancellationToken cancel)
    {
        try
        {
            if (options.Parts == ServerParts.Silo)
            {
                using var silo = PolluxServer.BuildSilo(options);
                await silo.StartAsync(cancel);
                parsed.Output().WriteLine("pollux silo ready");
                await silo.WaitForShutdownAsync(cancel);
                return PolluxCommandLine.Done;
            }
            await using var app = PolluxServer.Build(options);
            await app.StartAsync(cancel);
            parsed.Output().WriteLine($"pollux server ready: {PolluxServer.AddressOf(app, options).ToString().TrimEnd('/')}");
            await app.WaitForShutdownAsync(cancel);
            return PolluxCommandLine.Done;
        }
        catch (Exception e) when (e is SiloConfigurationException or InvalidDataException or IOException or UnauthorizedAccessException or CryptographicException
            or SocketException or DbException or OrleansException)
        {
            await parsed.Error().WriteLineAsync($"pollux: {e.Message}");
            return PolluxCommandLine.Failed;
        }
    }

    private static IPAddress? ParseAddress(ArgumentResult argument)
    {
        if (IPAddress.TryParse(argument.Tokens[0].Value, out var address)) return address;
        argument.AddError($"'{argument.Tokens[0].Value}' is not an IP address.");
        return null;
    }

    private static IPEndPoint? ParseEndPoint(ArgumentResult argument)
    {
        var text = argument.Tokens[0].Value;
        // Without a port IPEndPoint.Parse gives port 0.
        if (IPEndPoint.TryParse(text, out var endPoint)) return endPoint.Port == 0 && !text.EndsWith(":0", StringComparison.Ordinal) ? new(endPoint.Address, ServerOptions.PortDefault) : endPoint;
        argument.AddError($"'{text}' is not of the form ADDR:PORT, for example 0.0.0.0:{ServerOptions.PortDefault}.");
        return null;
    }
}
