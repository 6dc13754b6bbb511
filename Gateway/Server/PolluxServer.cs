using System.Net;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Pollux.Gateway.Api;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Sessions;
using Pollux.Silo;

namespace Pollux.Gateway.Server;

/// <summary>One process of the control plane. Everything that reaches it comes over HTTPS on one port: the API, joining, host sessions.</summary>
public static class PolluxServer
{
    /// <summary>Bytes of an API request; the largest is a certificate request of some 500.</summary>
    private const int RequestBytesMax = 64 * 1024;

    /// <summary>Time for running requests and sessions to end.</summary>
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(5);

    /// <exception cref="SiloConfigurationException">The options ask for what this build cannot do.</exception>
    public static WebApplication Build(ServerOptions options, TimeProvider? time = null)
    {
        PrivateFile.CreateDirectory(options.DataDirectory);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "pollux" });
        LineLog.Use(builder.Logging);
        builder.Services.AddSingleton(time ?? TimeProvider.System);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddHostedService<TelemetryExport>();
        if (options.Parts == ServerParts.Gateway) builder.AddPolluxClient(options.Silo);
        else builder.AddPolluxSilo(options.Silo);
        AddGateway(builder, options, time ?? TimeProvider.System);
        var app = builder.Build();
        MapGateway(app);
        return app;
    }

    /// <summary>A silo without a gateway: it answers other silos and gateways, not people.</summary>
    /// <exception cref="SiloConfigurationException">The options ask for what this build cannot do.</exception>
    public static IHost BuildSilo(ServerOptions options)
    {
        PrivateFile.CreateDirectory(options.DataDirectory);
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "pollux" });
        LineLog.Use(builder.Logging);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddHostedService<TelemetryExport>();
        builder.AddPolluxSilo(options.Silo);
        return builder.Build();
    }

    /// <summary>Where the started server listens, as a host or operator would dial it.</summary>
    public static Uri AddressOf(WebApplication app, ServerOptions options)
    {
        var bound = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        var name = options.Advertise.FirstOrDefault()
            ?? (options.Listen.Address.Equals(IPAddress.Any) || options.Listen.Address.Equals(IPAddress.IPv6Any) ? "localhost" : options.Listen.Address.ToString());
        return new UriBuilder("https", name, bound.Port).Uri;
    }

    private static void AddGateway(WebApplicationBuilder builder, ServerOptions options, TimeProvider time)
    {
        var authority = CertificateAuthority.LoadOrCreate(options.DataDirectory, time);
        var names = ServerNames.Collect(options.Advertise);
        var certificate = ServerIdentity.LoadOrIssue(options.DataDirectory, authority, names, time);
        builder.Services.AddSingleton(authority);
        builder.Services.AddSingleton(OperatorTokens.LoadOrCreate(options.DataDirectory));
        builder.Services.AddSingleton<HostSessions>();
        builder.Services.AddSingleton<StatusReader>();
        ApiServices.Add(builder.Services);
        builder.Services.AddRouting();
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = RequestBytesMax;
            kestrel.Listen(options.Listen, listen =>
            {
                listen.Protocols = HttpProtocols.Http1AndHttp2;
                listen.UseHttps(https =>
                {
                    https.ServerCertificate = certificate;
                    https.ServerCertificateChain = [X509CertificateLoader.LoadCertificate(authority.Certificate.RawData)];
                    https.SslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13;
                    // Operators have no certificate. A host's is checked where its session begins, so that it can be told what is wrong.
                    https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
                    https.AllowAnyClientCertificate();
                });
            });
        });
    }

    private static void MapGateway(WebApplication app)
    {
        ApiServices.Use(app);
        app.UseWebSockets(new WebSocketOptions { KeepAliveInterval = TimeSpan.FromSeconds(15) });
        JoinEndpoint.Map(app);
        HostSessionEndpoint.Map(app);
        ApiEndpoints.Map(app);
    }
}
